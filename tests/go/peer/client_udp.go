package main

import (
	"encoding/binary"
	"io"
	"log"
	"net"
	"time"
)

const targetRoom = 47 // bytes that v0.7.2 reads of a target on transport udp

// waitForFlow announces a tunnel of transport udp and waits for its target.
func (c *client) waitForFlow() {
	tunnel, err := net.Dial("udp", *address)
	if err != nil {
		log.Printf("no tunnel: %s", why(err))
		return
	}
	if !c.keep(tunnel) {
		return
	}
	defer c.close(tunnel)
	tunnel.Write([]byte(*token))
	log.Print("tunnel connection open")
	buffer := make([]byte, targetRoom)
	for {
		count, err := tunnel.Read(buffer)
		if err != nil {
			return
		}
		if count == 1 && buffer[0] == sayPing {
			log.Print("ping")
			continue
		}
		if found := c.reachDatagrams(string(buffer[:count])); found != nil {
			defer c.close(found)
			both(func() { c.pump(found, tunnel) }, func() { c.pump(tunnel, found) })
		}
		return
	}
}

func (c *client) reachDatagrams(target string) net.Conn {
	address, err := resolve(target)
	var found net.Conn
	if err == nil {
		found, err = net.Dial("udp", address)
	}
	if err != nil {
		log.Printf("no target: %s", why(err))
		return nil
	}
	c.keep(found)
	return found
}

// pump copies datagrams until there has been none for a while.
func (c *client) pump(sink, source net.Conn) {
	defer c.close(sink)
	defer c.close(source)
	buffer := make([]byte, bufferSize)
	for {
		source.SetReadDeadline(time.Now().Add(flowTimeout))
		count, err := source.Read(buffer)
		if err != nil {
			return
		}
		sink.Write(buffer[:count])
	}
}

// carryDatagrams serves a tunnel connection of tcp whose header announces datagrams.
func (c *client) carryDatagrams(conn net.Conn, target string) {
	defer c.close(conn)
	found := c.reachDatagrams(target)
	if found == nil {
		return
	}
	defer c.close(found)
	both(func() { c.unpack(found, conn) }, func() { c.pack(conn, found) })
}

// unpack passes the server's datagrams to the target.
func (c *client) unpack(target, conn net.Conn) {
	defer c.close(target)
	defer c.close(conn)
	var head [2]byte
	body := make([]byte, bufferSize)
	for {
		conn.SetReadDeadline(time.Now().Add(flowTimeout))
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(head[:]))
		if size > len(body)-6 {
			log.Printf("a datagram of %d bytes is too large", size)
			return
		}
		if _, err := io.ReadFull(conn, body[:size]); err != nil {
			return
		}
		target.Write(body[:size])
	}
}

// pack sends the target's datagrams to the server, each with the time.
func (c *client) pack(conn, target net.Conn) {
	defer c.close(target)
	defer c.close(conn)
	buffer := make([]byte, bufferSize)
	for {
		target.SetReadDeadline(time.Now().Add(flowTimeout))
		count, err := target.Read(buffer[6:])
		if err != nil {
			return
		}
		binary.BigEndian.PutUint32(buffer, clock())
		binary.BigEndian.PutUint16(buffer[4:], uint16(count))
		if _, err := conn.Write(buffer[:6+count]); err != nil {
			return
		}
	}
}
