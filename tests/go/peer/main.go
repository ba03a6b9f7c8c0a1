// Command peer is one end of a tunnel that behaves on the wire as Backhaul v0.7.2 does, its quirks included.
//
// It stands in for that program in the interop tests and was written from the same description of the protocol
// as this program. It writes a line for each event to standard output. At SIGTERM it announces its stop on the
// control channel and leaves.
package main

import (
	"flag"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

var (
	role          = flag.String("role", "server", "server or client")
	transport     = flag.String("transport", "tcp", "tcp, tcpmux, udp, ws, wss, wsmux or wssmux")
	address       = flag.String("address", "", "where the server listens")
	token         = flag.String("token", "s3cret", "what both ends know")
	muxVersion    = flag.Int("mux-version", 1, "smux version")
	muxCon        = flag.Int("mux-con", 8, "streams of a session before the server asks for another one")
	heartbeat     = flag.Duration("heartbeat", 40*time.Second, "interval of the server's heartbeats and pings")
	pool          = flag.Int("pool", 8, "tunnel connections that a client opens at first")
	ports         = flag.String("ports", "", "host:port=target, several with commas between")
	cert          = flag.String("cert", "", "certificate chain of a wss or wssmux server")
	key           = flag.String("key", "", "key of -cert")
	acceptUDP     = flag.Bool("accept-udp", false, "a tcp server takes datagrams too")
	proxyProtocol = flag.Bool("proxy-protocol", false, "a server tells targets who came")
	// v0.7.2's own pauses; tests set shorter ones.
	resetPause = flag.Duration("reset-pause", 2*time.Second, "between a server's loss of its control channel and a new start")
	retry      = flag.Duration("retry", 3*time.Second, "between a client's attempts")
)

// The meaning of a byte on the control channel, in a handshake or in the header of a tunnel connection.
const (
	sayHeartbeat byte = iota
	sayChannel
	sayPing
	sayClosed
	sayTCP
	sayUDP
	sayRTT
)

const (
	bufferSize       = 16 * 1024 // of every copy loop, and for one datagram with its header
	handshakeTimeout = 2 * time.Second
	userPatience     = 20 * time.Second // without a tunnel connection, on a busy machine
	flowTimeout      = 60 * time.Second // without a datagram
	queueSize        = 2048             // users and tunnel connections that wait
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	run := serve
	if *role == "client" {
		run = dial
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for {
		life := newLife()
		go func() {
			select {
			case <-stop:
				life.goodbye()
				log.Print("stopped")
				os.Exit(0)
			case <-life.done:
			}
		}()
		pause := run(life)
		<-life.done
		time.Sleep(pause)
	}
}

func muxed() bool     { return strings.HasSuffix(*transport, "mux") }
func encrypted() bool { return strings.HasPrefix(*transport, "wss") }
func overHTTP() bool  { return strings.HasPrefix(*transport, "ws") }
