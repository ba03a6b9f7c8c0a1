package main

import (
	"log"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/xtaci/smux"
)

// user is a connection to a local port.
type user struct {
	net.Conn
	target string
	taken  atomic.Bool
}

// take returns whether the user still waits for a carrier.
func (u *user) take() bool { return u.taken.CompareAndSwap(false, true) }

// server is one life of a server.
type server struct {
	*life
	users    chan *user
	raw      chan net.Conn      // idle tunnel connections of tcp
	upgraded chan *messages     // idle tunnel connections of ws and wss
	sessions chan *smux.Session // sessions of the mux transports
	rtt      atomic.Int64       // milliseconds
}

func serve(l *life) time.Duration {
	s := &server{
		life:     l,
		users:    make(chan *user, queueSize),
		raw:      make(chan net.Conn, queueSize),
		upgraded: make(chan *messages, queueSize),
		sessions: make(chan *smux.Session, queueSize),
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	l.keep(listener)
	log.Printf("listening on %s", *address)
	if overHTTP() {
		go s.serveHTTP(listener)
	} else {
		go s.sort(listener)
	}
	<-l.done
	return *resetPause
}

// begin is called once, when the control channel is open.
func (s *server) begin() {
	log.Print("control channel open")
	go s.beat()
	if *transport == "udp" {
		s.serveFlows()
		return
	}
	switch {
	case muxed():
		go s.fillSessions()
	case overHTTP():
		go s.assignMessages()
	default:
		go s.assignRaw()
	}
	for _, port := range strings.Split(*ports, ",") {
		local, target, _ := strings.Cut(port, "=")
		go s.accept(local, target)
		if *acceptUDP {
			go s.acceptDatagrams(local, target)
		}
	}
}

func (s *server) beat() {
	for {
		select {
		case <-s.done:
			return
		case <-time.After(*heartbeat):
			s.say(sayHeartbeat)
			log.Print("heartbeat")
		}
	}
}

func (s *server) accept(local, target string) {
	listener, err := net.Listen("tcp", local)
	if err != nil {
		log.Fatal(err)
	}
	if !s.keep(listener) {
		return
	}
	log.Printf("local port %s open", local)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		u := &user{Conn: conn, target: target}
		s.keep(conn)
		time.AfterFunc(userPatience, func() {
			if u.take() {
				log.Print("dropped a user: no tunnel connection")
				s.close(conn)
			}
		})
		s.users <- u
		if !muxed() {
			s.say(sayChannel)
		}
	}
}

// next is the next user who still waits; nil when life is over.
func (s *server) next() *user {
	for {
		select {
		case <-s.done:
			return nil
		case u := <-s.users:
			if u.take() {
				return u
			}
		}
	}
}

// again lets a user with a dead tunnel connection wait again.
func (s *server) again(u *user) {
	u.taken.Store(false)
	s.users <- u
}

// greeting returns the bytes for the target before the user's.
func greeting(u *user, tunnel net.Addr) []byte {
	if *proxyProtocol {
		return proxyHeader(u.RemoteAddr(), tunnel)
	}
	return nil
}
