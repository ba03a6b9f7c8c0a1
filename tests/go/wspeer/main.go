// Command wspeer is the other end of a WebSocket for the interop tests: the real library, used as v0.7.2 uses it.
//
// As server it listens, prints its address, and echoes the messages of every connection that shows the token.
// As client it connects to -connect, expects the target as a text message and then echoes; with -raw it uses
// no WebSocket frames after the upgrade and echoes bytes. A client exits with 0 when the other end closes.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

var (
	role    = flag.String("role", "server", "client or server")
	address = flag.String("connect", "", "address of the other end, for a client")
	token   = flag.String("token", "s3cret", "what both ends know")
	target  = flag.String("target", "127.0.0.1:7100", "the first message a client expects")
	raw     = flag.Bool("raw", false, "no frames after the upgrade")
)

const (
	bufferSize = 4096             // v0.7.2's own; its client cuts longer messages into fragments of this size
	patience   = 30 * time.Second // without the expected bytes: the other end is stuck
)

func main() {
	flag.Parse()
	run := serve
	if *role == "client" {
		run = connect
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// serve runs until it is killed.
func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return http.Serve(listener, http.HandlerFunc(upgrade))
}

func upgrade(writer http.ResponseWriter, request *http.Request) {
	if request.Header.Get("Authorization") != "Bearer "+*token {
		http.Error(writer, "unauthorized", http.StatusUnauthorized)
		return
	}
	upgrader := websocket.Upgrader{ReadBufferSize: bufferSize, WriteBufferSize: bufferSize}
	conn, err := upgrader.Upgrade(writer, request, nil)
	if err != nil {
		return // it has answered
	}
	defer conn.Close()
	if strings.HasSuffix(request.URL.Path, "/ping") {
		if err := pingPong(conn); err != nil {
			log.Print(err)
			return
		}
	}
	if err := echo(conn); err != nil {
		log.Print(err)
	}
}

func connect() error {
	dialer := websocket.Dialer{
		EnableCompression: true, // offered, as in v0.7.2; neither end uses it
		HandshakeTimeout:  patience,
		ReadBufferSize:    bufferSize,
		WriteBufferSize:   bufferSize,
	}
	header := http.Header{"Authorization": {"Bearer " + *token}, "X-User-Id": {"1"}, "User-Agent": {"Mozilla/5.0"}}
	conn, answer, err := dialer.Dial("ws://"+*address+"/tunnel/1", header)
	if err != nil {
		if answer != nil {
			return fmt.Errorf("%w: %s", err, answer.Status)
		}
		return err
	}
	defer conn.Close()
	if *raw {
		return echoRaw(conn.NetConn())
	}
	if err := pingPong(conn); err != nil {
		return err
	}
	if err := expectTarget(conn); err != nil {
		return err
	}
	return echo(conn)
}

// pingPong sends a ping and an empty message; the other end answers the first with a pong, then sends the second back.
func pingPong(conn *websocket.Conn) error {
	var answer string
	conn.SetPongHandler(func(data string) error {
		answer = data
		return nil
	})
	if err := conn.WriteControl(websocket.PingMessage, []byte("still there?"), time.Now().Add(patience)); err != nil {
		return err
	}
	if err := conn.WriteMessage(websocket.BinaryMessage, nil); err != nil {
		return err
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	_, message, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	if len(message) > 0 {
		return fmt.Errorf("instead of an empty message came %q", message)
	}
	if answer != "still there?" {
		return fmt.Errorf("the pong holds %q", answer)
	}
	return nil
}

func expectTarget(conn *websocket.Conn) error {
	kind, message, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	if kind != websocket.TextMessage || string(message) != *target {
		return fmt.Errorf("target expected, message of type %d came: %q", kind, message)
	}
	return nil
}

// echo sends every message back until the connection closes, with or without a close frame.
func echo(conn *websocket.Conn) error {
	for {
		conn.SetReadDeadline(time.Now().Add(patience))
		kind, message, err := conn.ReadMessage()
		if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseAbnormalClosure) {
			return nil // abnormal: the library's name for an EOF without a close frame
		}
		if err != nil {
			return err
		}
		if err := conn.WriteMessage(kind, message); err != nil {
			return err
		}
	}
}

func echoRaw(conn net.Conn) error {
	conn.SetDeadline(time.Now().Add(patience))
	_, err := io.Copy(onlyWriter{conn}, conn)
	return err
}

// onlyWriter hides ReadFrom, so that the copy goes through Read.
type onlyWriter struct{ io.Writer }
