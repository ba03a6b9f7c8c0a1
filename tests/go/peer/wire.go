package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/xtaci/smux"
)

// writeTyped sends u16 length, u8 type, text.
func writeTyped(conn io.Writer, kind byte, text string) error {
	frame := append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), kind)
	_, err := conn.Write(append(frame, text...))
	return err
}

// readTyped reads what writeTyped sends, and no byte more.
func readTyped(conn io.Reader) (kind byte, text string, err error) {
	var head [3]byte
	if _, err = io.ReadFull(conn, head[:]); err != nil {
		return
	}
	body := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err = io.ReadFull(conn, body)
	return head[2], string(body), err
}

// writeString sends u16 length, text: the beginning of a smux stream.
func writeString(conn io.Writer, text string) error {
	frame := binary.BigEndian.AppendUint16(nil, uint16(len(text)))
	_, err := conn.Write(append(frame, text...))
	return err
}

func readString(conn io.Reader) (string, error) {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return "", err
	}
	body := make([]byte, binary.BigEndian.Uint16(head[:]))
	_, err := io.ReadFull(conn, body)
	return string(body), err
}

// resolve turns a target into an address; a port alone is one of this machine. It knows no IPv6.
func resolve(target string) (string, error) {
	switch parts := strings.Split(target, ":"); len(parts) {
	case 1:
		return "127.0.0.1:" + target, nil
	case 2:
		return target, nil
	}
	return "", fmt.Errorf("target %q has too many colons", target)
}

func muxConfig() *smux.Config {
	return &smux.Config{
		Version:           *muxVersion,
		KeepAliveInterval: 20 * time.Second,
		KeepAliveTimeout:  40 * time.Second,
		MaxFrameSize:      32768,
		MaxReceiveBuffer:  4194304,
		MaxStreamBuffer:   65536,
	}
}

// proxyHeader is version 2 of the PROXY protocol. v0.7.2 names the tunnel's other end as the destination.
func proxyHeader(source, destination net.Addr) []byte {
	from, to := source.(*net.TCPAddr), destination.(*net.TCPAddr)
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	header = append(header, from.IP.To4()...)
	header = append(header, to.IP.To4()...)
	header = binary.BigEndian.AppendUint16(header, uint16(from.Port))
	return binary.BigEndian.AppendUint16(header, uint16(to.Port))
}

// userAgent is the browser that the client's requests show, one of several.
func userAgent() string {
	return []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/91.0.4472.124 Safari/537.36",
		"Mozilla/5.0 (X11; Linux x86_64; rv:89.0) Gecko/20100101 Firefox/89.0",
	}[rand.Intn(2)]
}

// rawControl is the control channel of tcp, tcpmux and udp.
type rawControl struct{ net.Conn }

func (c rawControl) say(signal byte) error {
	_, err := c.Write([]byte{signal})
	return err
}

// messages is a WebSocket connection to which several goroutines may write.
type messages struct {
	*websocket.Conn
	lock sync.Mutex
	stop chan struct{} // closed when the connection is given to a user
}

func newMessages(conn *websocket.Conn) *messages {
	return &messages{Conn: conn, stop: make(chan struct{})}
}

func (m *messages) write(kind int, data []byte) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.WriteMessage(kind, data)
}

func (m *messages) say(signal byte) error {
	return m.write(websocket.BinaryMessage, []byte{signal})
}

// ping sends a ping unless the connection has been given to a user, whose bytes it would become.
func (m *messages) ping() error {
	m.lock.Lock()
	defer m.lock.Unlock()
	select {
	case <-m.stop:
		return nil
	default:
		return m.WriteMessage(websocket.BinaryMessage, []byte{sayPing})
	}
}

// join copies both ways. When one direction ends, for whatever reason, it closes both connections.
func join(l *life, one, other net.Conn) {
	if !l.keep(one) || !l.keep(other) {
		one.Close()
		other.Close()
		return
	}
	pump := func(sink, source net.Conn) {
		defer l.close(one)
		defer l.close(other)
		buffer := make([]byte, bufferSize)
		for {
			count, err := source.Read(buffer)
			if count > 0 {
				if _, err := sink.Write(buffer[:count]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	both(func() { pump(one, other) }, func() { pump(other, one) })
}

// joinMessages is join for a WebSocket connection: a binary message for each read.
func joinMessages(l *life, tunnel *messages, conn net.Conn) {
	if !l.keep(tunnel) || !l.keep(conn) {
		tunnel.Close()
		conn.Close()
		return
	}
	closeBoth := func() {
		l.close(conn)
		l.close(tunnel)
	}
	up := func() {
		defer closeBoth()
		buffer := make([]byte, bufferSize)
		for {
			count, err := conn.Read(buffer)
			if count > 0 {
				if err := tunnel.write(websocket.BinaryMessage, buffer[:count]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	down := func() {
		defer closeBoth()
		for {
			_, data, err := tunnel.ReadMessage()
			if err != nil {
				return
			}
			if _, err := conn.Write(data); err != nil {
				return
			}
		}
	}
	both(up, down)
}

func both(one, other func()) {
	var group sync.WaitGroup
	group.Add(2)
	go func() { defer group.Done(); one() }()
	go func() { defer group.Done(); other() }()
	group.Wait()
}

// why returns the shortest form of an error for the event lines.
func why(err error) string {
	if errors.Is(err, io.EOF) {
		return "EOF"
	}
	return err.Error()
}
