package main

import (
	"io"
	"log"
	"sync"
)

// control is the channel on which either end sends signals.
type control interface {
	say(signal byte) error
	io.Closer
}

// life is one run of an end: from its start to the loss of the control channel, when everything closes.
type life struct {
	lock   sync.Mutex
	things map[io.Closer]struct{}
	ended  bool
	done   chan struct{}

	control control // set once, before the goroutines start that use it
}

func newLife() *life {
	return &life{things: map[io.Closer]struct{}{}, done: make(chan struct{})}
}

// keep closes thing when life ends; it returns whether life goes on.
func (l *life) keep(thing io.Closer) bool {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.ended {
		thing.Close()
		return false
	}
	l.things[thing] = struct{}{}
	return true
}

// close closes thing now.
func (l *life) close(thing io.Closer) {
	l.lock.Lock()
	delete(l.things, thing)
	l.lock.Unlock()
	thing.Close()
}

// end closes everything; only the first reason counts.
func (l *life) end(reason string) {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	log.Printf("reset: %s", reason)
	for thing := range l.things {
		thing.Close()
	}
	close(l.done)
}

func (l *life) open(c control) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.control = c
}

func (l *life) opened() control {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.control
}

// say sends a signal; life ends if the control channel does not take it.
func (l *life) say(signal byte) {
	if err := l.opened().say(signal); err != nil {
		l.end("control channel: " + err.Error())
	}
}

// goodbye announces the stop to the other end and closes everything.
func (l *life) goodbye() {
	if c := l.opened(); c != nil {
		c.say(sayClosed)
	}
	l.end("stopped")
}
