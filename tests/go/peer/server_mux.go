package main

import (
	"log"
	"sync"

	"github.com/xtaci/smux"
)

// fillSessions uses one session after the other.
func (s *server) fillSessions() {
	for {
		select {
		case <-s.done:
			return
		case session := <-s.sessions:
			s.fill(session)
		}
	}
}

// fill opens mux_con streams, asks for another session, and closes this one when the streams have ended.
func (s *server) fill(session *smux.Session) {
	var streams sync.WaitGroup
	defer func() {
		go func() {
			streams.Wait()
			session.Close()
		}()
	}()
	for range *muxCon {
		u := s.next()
		if u == nil {
			return
		}
		stream, err := session.OpenStream()
		if err == nil {
			err = writeString(stream, u.target)
		}
		if err != nil {
			log.Printf("session lost: %s", why(err))
			s.again(u)
			break
		}
		stream.Write(greeting(u, session.RemoteAddr()))
		streams.Add(1)
		go func() {
			defer streams.Done()
			join(s.life, stream, u.Conn)
		}()
	}
	s.say(sayChannel)
}
