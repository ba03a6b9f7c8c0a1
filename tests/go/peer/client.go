package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
	"github.com/xtaci/smux"
)

// client is one life of a client.
type client struct{ *life }

func dial(l *life) time.Duration {
	c := &client{l}
	connect := c.connectRaw
	if overHTTP() {
		connect = c.connectChannel
	}
	if err := connect(); err != nil {
		l.end(why(err))
		return *retry
	}
	for range *pool {
		go c.openTunnel()
	}
	<-l.done
	return 0
}

func (c *client) connectRaw() error {
	conn, err := net.Dial("tcp", *address)
	if err != nil {
		return err
	}
	if !c.keep(conn) {
		return io.ErrClosedPipe
	}
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := writeTyped(conn, sayChannel, *token); err != nil {
		return err
	}
	kind, text, err := readTyped(conn)
	if err != nil {
		return fmt.Errorf("handshake: %s", why(err))
	}
	if kind != sayChannel || text != *token {
		return fmt.Errorf("handshake: invalid token")
	}
	conn.SetDeadline(time.Time{})
	c.open(rawControl{conn})
	log.Print("control channel open")
	go c.hear(func() (byte, error) {
		var signal [1]byte
		_, err := conn.Read(signal[:])
		return signal[0], err
	})
	return nil
}

func (c *client) connectChannel() error {
	conn, err := upgrade("/channel", rand.Int31())
	if err != nil {
		return err
	}
	channel := newMessages(conn)
	if !c.keep(channel) {
		return io.ErrClosedPipe
	}
	c.open(channel)
	log.Print("control channel open")
	go c.hear(func() (byte, error) {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return 0, err
		}
		return message[0], nil // an empty message crashes the process, as it does v0.7.2
	})
	return nil
}

// hear acts on the server's signals, up to the first unknown one.
func (c *client) hear(next func() (byte, error)) {
	for {
		signal, err := next()
		if err != nil {
			c.end("control channel: " + why(err))
			return
		}
		switch {
		case signal == sayHeartbeat:
			log.Print("heartbeat")
			if overHTTP() {
				c.say(sayHeartbeat)
			}
		case signal == sayChannel:
			log.Print("one more is wanted")
			go c.openTunnel()
		case signal == sayClosed:
			c.end("the server says goodbye")
			return
		case signal == sayRTT && (*transport == "tcp" || *transport == "udp"):
			c.say(sayRTT)
		default:
			c.end(fmt.Sprintf("unknown signal 0x%02x", signal))
			return
		}
	}
}

// upgrade asks for a WebSocket as v0.7.2 does. The library offers compression, TLS any certificate and no ALPN.
func upgrade(path string, id int32) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		EnableCompression: true,
		HandshakeTimeout:  10 * time.Second,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}
	scheme := "ws://"
	if encrypted() {
		scheme = "wss://"
	}
	header := http.Header{}
	header.Set("Authorization", "Bearer "+*token)
	header.Set("User-Agent", userAgent())
	header.Set("X-User-Id", fmt.Sprint(id))
	conn, answer, err := dialer.Dial(scheme+*address+path, header)
	if err != nil && answer != nil {
		return nil, fmt.Errorf("upgrade: %s", answer.Status)
	}
	if err == nil && answer.Header.Get("Sec-WebSocket-Extensions") != "" {
		log.Print("compression was accepted")
	}
	return conn, err
}

// openTunnel opens a tunnel connection and waits on it for users.
func (c *client) openTunnel() {
	switch {
	case *transport == "udp":
		c.waitForFlow()
	case overHTTP():
		id := rand.Int31()
		conn, err := upgrade(fmt.Sprintf("/tunnel/%d", id), id)
		if err != nil {
			log.Printf("no tunnel connection: %s", why(err))
			return
		}
		if muxed() {
			// Bytes that the library has read together with the answer to the upgrade are lost with its buffer.
			c.waitForStreams(conn.NetConn())
		} else {
			c.waitForMessage(newMessages(conn))
		}
	default:
		conn, err := net.Dial("tcp", *address)
		if err != nil {
			log.Printf("no tunnel connection: %s", why(err))
			return
		}
		if muxed() {
			c.waitForStreams(conn)
		} else {
			c.waitForHeader(conn)
		}
	}
}

func (c *client) waitForHeader(conn net.Conn) {
	if !c.keep(conn) {
		return
	}
	log.Print("tunnel connection open")
	kind, target, err := readTyped(conn)
	switch {
	case err != nil:
		log.Printf("tunnel connection lost: %s", why(err))
		c.close(conn)
	case kind == sayTCP:
		c.reach(target, conn, func(found net.Conn) { join(c.life, conn, found) })
	case kind == sayUDP:
		c.carryDatagrams(conn, target)
	default:
		log.Printf("unknown type %d in a header", kind)
		c.close(conn)
	}
}

// waitForMessage waits for the target; a ping is no target.
func (c *client) waitForMessage(tunnel *messages) {
	if !c.keep(tunnel) {
		return
	}
	log.Print("tunnel connection open")
	for {
		kind, message, err := tunnel.ReadMessage()
		if err != nil {
			log.Printf("tunnel connection lost: %s", why(err))
			c.close(tunnel)
			return
		}
		if kind == websocket.BinaryMessage && len(message) == 1 && message[0] == sayPing {
			log.Print("ping")
			continue
		}
		if kind != websocket.TextMessage {
			log.Printf("a message of type %d instead of a target", kind)
		}
		c.reach(string(message), tunnel, func(found net.Conn) { joinMessages(c.life, tunnel, found) })
		return
	}
}

// waitForStreams accepts streams one after the other: one without a target holds up all later ones.
func (c *client) waitForStreams(conn net.Conn) {
	if !c.keep(conn) {
		return
	}
	log.Print("tunnel connection open")
	session, err := smux.Server(conn, muxConfig())
	if err != nil {
		log.Fatal(err)
	}
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			log.Printf("session lost: %s", why(err))
			session.Close()
			c.close(conn)
			return
		}
		target, err := readString(stream)
		if err != nil {
			log.Printf("a stream without a target: %s", why(err))
			stream.Close()
			continue
		}
		go c.reach(target, stream, func(found net.Conn) { join(c.life, stream, found) })
	}
}

// reach dials the target and joins it; an unavailable target closes the user's connection.
func (c *client) reach(target string, tunnel io.Closer, carry func(net.Conn)) {
	address, err := resolve(target)
	var found net.Conn
	if err == nil {
		found, err = net.Dial("tcp", address)
	}
	if err != nil {
		log.Printf("no target: %s", why(err))
		c.close(tunnel)
		return
	}
	carry(found)
}
