package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// serveHTTP accepts the connections of ws, wss, wsmux and wssmux.
func (s *server) serveHTTP(listener net.Listener) {
	web := http.Server{Handler: http.HandlerFunc(s.upgrade), ErrorLog: log.New(io.Discard, "", 0)}
	if encrypted() {
		web.ServeTLS(listener, *cert, *key) // offers h2 before http/1.1, as Go does
	} else {
		web.Serve(listener)
	}
}

func (s *server) upgrade(writer http.ResponseWriter, request *http.Request) {
	if request.TLS != nil && request.TLS.NegotiatedProtocol != "" {
		log.Printf("ALPN %s", request.TLS.NegotiatedProtocol)
	}
	if request.Header.Get("Authorization") != "Bearer "+*token {
		log.Print("refused a request: invalid token")
		http.Error(writer, "unauthorized", http.StatusUnauthorized)
		return
	}
	if offer := request.Header.Get("Sec-WebSocket-Extensions"); offer != "" {
		log.Printf("extensions offered: %s", offer)
	}
	upgrader := websocket.Upgrader{}
	conn, err := upgrader.Upgrade(writer, request, nil)
	if err != nil {
		log.Printf("refused a request: %s", why(err))
		return
	}
	tunnel := newMessages(conn)
	if !s.keep(tunnel) {
		return
	}
	switch {
	case request.URL.Path == "/channel":
		s.channel(tunnel)
	case !strings.HasPrefix(request.URL.Path, "/tunnel"):
		log.Printf("nobody wants %s", request.URL.Path)
	case muxed():
		s.session(conn.NetConn())
		log.Print("tunnel connection open")
	default:
		go s.pingIdle(tunnel)
		s.upgraded <- tunnel
		log.Print("tunnel connection open")
	}
}

// channel accepts a control channel; a second one resets the server.
func (s *server) channel(conn *messages) {
	if s.opened() != nil {
		s.end("a second control channel")
		return
	}
	s.open(conn)
	s.begin()
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			s.end("control channel: " + why(err))
			return
		}
		switch message[0] { // an empty message crashes the process, as it does v0.7.2
		case sayHeartbeat:
			log.Print("heartbeat answered")
		case sayClosed:
			s.end("the client says goodbye")
			return
		default:
			log.Printf("ignored 0x%02x on the control channel", message[0])
		}
	}
}

func (s *server) pingIdle(tunnel *messages) {
	for {
		select {
		case <-s.done:
			return
		case <-tunnel.stop:
			return
		case <-time.After(*heartbeat):
			if tunnel.ping() != nil {
				return
			}
		}
	}
}

// assignMessages is assignRaw for WebSocket connections.
func (s *server) assignMessages() {
	for {
		var tunnel *messages
		select {
		case <-s.done:
			return
		case tunnel = <-s.upgraded:
		}
		u := s.next()
		if u == nil {
			return
		}
		close(tunnel.stop)
		if err := tunnel.write(websocket.TextMessage, []byte(u.target)); err != nil {
			s.close(tunnel)
			s.again(u)
			continue
		}
		go joinMessages(s.life, tunnel, u.Conn)
	}
}
