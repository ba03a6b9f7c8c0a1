package main

import (
	"fmt"
	"log"
	"net"
	"time"

	"github.com/xtaci/smux"
)

// sort accepts the connections of tcp, tcpmux and udp: the first one that shakes hands is the control channel, and
// all later ones from the same address are tunnel connections.
func (s *server) sort(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if s.opened() == nil {
			s.shakeHands(conn)
		} else if host(conn) == host(s.opened().(rawControl).Conn) {
			s.tunnel(conn)
		} else {
			log.Printf("refused a tunnel connection from %s", conn.RemoteAddr())
			conn.Close()
		}
	}
}

func host(conn net.Conn) string { return conn.RemoteAddr().(*net.TCPAddr).IP.String() }

func (s *server) shakeHands(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	kind, text, err := readTyped(conn)
	if err == nil && (kind != sayChannel || text != *token) {
		err = fmt.Errorf("invalid token")
	}
	if err == nil {
		err = writeTyped(conn, sayChannel, *token)
	}
	if err != nil {
		log.Printf("refused a control channel: %s", why(err))
		conn.Close()
		return
	}
	conn.SetDeadline(time.Time{})
	if !s.keep(conn) {
		return
	}
	s.open(rawControl{conn})
	if *transport == "tcpmux" {
		go s.hearOnce(conn)
	} else {
		s.say(sayRTT)
		go s.hear(conn, time.Now())
	}
	s.begin()
}

// hear reads the control channel of tcp and udp.
func (s *server) hear(conn net.Conn, asked time.Time) {
	var signal [1]byte
	for {
		if _, err := conn.Read(signal[:]); err != nil {
			s.end("control channel: " + why(err))
			return
		}
		switch signal[0] {
		case sayClosed:
			s.end("the client says goodbye")
			return
		case sayRTT:
			s.rtt.Store(time.Since(asked).Milliseconds())
			log.Print("round trip measured")
		default:
			log.Printf("ignored 0x%02x on the control channel", signal[0])
		}
	}
}

// hearOnce reads the control channel of tcpmux: one byte, and nothing after it.
func (s *server) hearOnce(conn net.Conn) {
	var signal [1]byte
	if _, err := conn.Read(signal[:]); err != nil {
		s.end("control channel: " + why(err))
	} else if signal[0] == sayClosed {
		s.end("the client says goodbye")
	} else {
		log.Printf("deaf on the control channel after 0x%02x", signal[0])
	}
}

func (s *server) tunnel(conn net.Conn) {
	if !s.keep(conn) {
		return
	}
	switch *transport {
	case "tcp":
		s.raw <- conn
	case "tcpmux":
		s.session(conn)
	default:
		s.close(conn)
	}
	log.Print("tunnel connection open")
}

func (s *server) session(conn net.Conn) {
	session, err := smux.Client(conn, muxConfig())
	if err != nil {
		log.Fatal(err)
	}
	s.sessions <- session
}

func (s *server) nextRaw() net.Conn {
	select {
	case <-s.done:
		return nil
	case conn := <-s.raw:
		return conn
	}
}

// assignRaw gives each user a tunnel connection. Idle ones are not read: a user may be lost with a dead one.
func (s *server) assignRaw() {
	for {
		conn := s.nextRaw()
		if conn == nil {
			return
		}
		u := s.next()
		if u == nil {
			return
		}
		if err := writeTyped(conn, sayTCP, u.target); err != nil {
			s.close(conn)
			s.again(u)
			continue
		}
		conn.Write(greeting(u, conn.RemoteAddr()))
		go join(s.life, conn, u.Conn)
	}
}
