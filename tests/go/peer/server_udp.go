package main

import (
	"encoding/binary"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const clockCycle = 600_000 // milliseconds: timestamps of datagrams start again at 0

func clock() uint32 { return uint32(time.Now().UnixMilli() % clockCycle) }

// flow is one user's datagrams over a tcp tunnel.
type flow struct {
	datagrams chan []byte
	congested atomic.Bool
}

// acceptDatagrams carries datagrams over tunnel connections of tcp.
func (s *server) acceptDatagrams(local, target string) {
	socket, err := net.ListenPacket("udp", local)
	if err != nil {
		log.Fatal(err)
	}
	if !s.keep(socket) {
		return
	}
	log.Printf("UDP on %s open", local)
	var lock sync.Mutex
	flows := map[string]*flow{}
	buffer := make([]byte, bufferSize)
	for {
		count, source, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		lock.Lock()
		f := flows[source.String()]
		if f == nil || f.congested.Load() {
			f = &flow{datagrams: make(chan []byte, queueSize)}
			flows[source.String()] = f
			s.say(sayChannel)
			go func() {
				s.carryFlow(socket, source, target, f)
				lock.Lock()
				defer lock.Unlock()
				if flows[source.String()] == f {
					delete(flows, source.String())
				}
			}()
		}
		lock.Unlock()
		select {
		case f.datagrams <- append([]byte(nil), buffer[:count]...):
		default:
		}
	}
}

func (s *server) carryFlow(socket net.PacketConn, source net.Addr, target string, f *flow) {
	conn := s.nextRaw()
	if conn == nil {
		return
	}
	defer s.close(conn)
	if writeTyped(conn, sayUDP, target) != nil {
		return
	}
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		s.answer(conn, socket, source, f)
	}()
	for {
		select {
		case <-s.done:
			return
		case <-answers:
			return
		case <-time.After(flowTimeout):
			return
		case datagram := <-f.datagrams:
			if writeString(conn, string(datagram)) != nil {
				return
			}
		}
	}
}

// answer passes on the target's datagrams. A datagram that is older than three round trips means congestion; both
// clocks are assumed to agree.
func (s *server) answer(conn net.Conn, socket net.PacketConn, source net.Addr, f *flow) {
	limit := 3 * s.rtt.Load()
	if limit == 0 {
		limit = 100
	}
	var head [6]byte
	for {
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		age := int64(clock()) - int64(binary.BigEndian.Uint32(head[:]))
		if age > limit && !f.congested.Swap(true) {
			log.Printf("congestion: a datagram is %d ms old", age)
		}
		size := int(binary.BigEndian.Uint16(head[4:]))
		if size > bufferSize-len(head) {
			log.Printf("a datagram of %d bytes is too large", size)
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		socket.WriteTo(body, source)
	}
}

// tunnels of transport udp, each an address that the client has announced.
type tunnels struct {
	*server
	socket net.PacketConn
	lock   sync.Mutex
	idle   []net.Addr
	taken  map[string]func([]byte) // by the client's address: takes its datagrams
}

// serveFlows serves transport udp.
func (s *server) serveFlows() {
	socket, err := net.ListenPacket("udp", *address)
	if err != nil {
		log.Fatal(err)
	}
	if !s.keep(socket) {
		return
	}
	t := &tunnels{server: s, socket: socket, taken: map[string]func([]byte){}}
	go t.receive()
	go t.pingIdle()
	for _, port := range strings.Split(*ports, ",") {
		local, target, _ := strings.Cut(port, "=")
		go t.accept(local, target)
	}
}

func (t *tunnels) receive() {
	buffer := make([]byte, bufferSize)
	for {
		count, source, err := t.socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		t.lock.Lock()
		hand, isTaken := t.taken[source.String()]
		if isTaken {
			hand(buffer[:count])
		} else if string(buffer[:count]) == *token {
			t.idle = append(t.idle, source)
			log.Print("tunnel connection open")
		} else {
			log.Printf("ignored a datagram of %d bytes", count)
		}
		t.lock.Unlock()
	}
}

func (t *tunnels) pingIdle() {
	for {
		select {
		case <-t.done:
			return
		case <-time.After(*heartbeat):
		}
		t.lock.Lock()
		for _, tunnel := range t.idle {
			t.socket.WriteTo([]byte{sayPing}, tunnel)
		}
		t.lock.Unlock()
	}
}

func (t *tunnels) accept(local, target string) {
	socket, err := net.ListenPacket("udp", local)
	if err != nil {
		log.Fatal(err)
	}
	if !t.keep(socket) {
		return
	}
	log.Printf("local port %s open", local)
	flows := map[string]net.Addr{}
	used := map[string]time.Time{}
	buffer := make([]byte, bufferSize)
	for {
		count, source, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		name := source.String()
		if time.Since(used[name]) > flowTimeout {
			delete(flows, name)
		}
		used[name] = time.Now()
		if flows[name] == nil {
			if flows[name] = t.assign(socket, source, target); flows[name] == nil {
				continue
			}
		}
		t.socket.WriteTo(buffer[:count], flows[name])
	}
}

// assign gives an idle tunnel to a user, and asks for another one.
func (t *tunnels) assign(socket net.PacketConn, source net.Addr, target string) net.Addr {
	t.lock.Lock()
	defer t.lock.Unlock()
	if len(t.idle) == 0 {
		log.Print("dropped a datagram: no tunnel")
		return nil
	}
	tunnel := t.idle[0]
	t.idle = t.idle[1:]
	t.taken[tunnel.String()] = func(datagram []byte) { socket.WriteTo(datagram, source) }
	t.socket.WriteTo([]byte(target), tunnel)
	t.say(sayChannel)
	return tunnel
}
