// Command smuxpeer is the other end of a session for the interop tests: the real library on a TCP socket.
//
// It connects to -connect. As client it opens streams, sends random bytes on each, and compares the echo; as
// server it echoes all bytes. Everything random follows from -seed. It exits with 0 when all streams have
// ended in order.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net"
	"sync"

	"github.com/xtaci/smux"
)

var (
	address = flag.String("connect", "", "address of the other end")
	role    = flag.String("role", "server", "client opens the streams, server accepts them")
	version = flag.Int("version", 1, "smux version")
	seed    = flag.Int64("seed", 0, "what all random choices follow from")
	streams = flag.Int("streams", 5, "number of streams of the session")
)

const maxBytes = 700_000 // well above the first window of version 2, so that streams wait for updates

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	conn, err := net.Dial("tcp", *address)
	if err != nil {
		return err
	}
	if *role == "client" {
		session, err := smux.Client(conn, config())
		if err != nil {
			return err
		}
		defer session.Close()
		return finish(session, each(func(number int) error { return exchange(session, number) }))
	}
	session, err := smux.Server(conn, config())
	if err != nil {
		return err
	}
	defer session.Close()
	return finish(session, each(func(number int) error { return serve(session, number) }))
}

// finish waits until the other end, having seen the last FIN, closes the connection.
func finish(session *smux.Session, result error) error {
	if result != nil {
		return result
	}
	if stream, err := session.AcceptStream(); err == nil {
		return fmt.Errorf("stream %d: nobody asked for it", stream.ID())
	}
	return nil
}

// config chooses sizes with the seed; the limits are those of the library.
//
// In version 2 the session's buffer holds the windows of all streams. A smaller one may stall for ever, by
// the protocol's design: an echo that waits for window does not read, the buffer fills, and then the updates
// of the window are not read either.
func config() *smux.Config {
	random := rand.New(rand.NewSource(*seed))
	config := smux.DefaultConfig()
	config.Version = *version
	config.MaxFrameSize = 1 << (8 + random.Intn(8))
	config.MaxStreamBuffer = 1 << (10 + random.Intn(10))
	config.MaxReceiveBuffer = 1 << 22
	if *version == 1 {
		config.MaxReceiveBuffer = 1 << (19 + random.Intn(4))
	}
	return config
}

// each runs work for every stream at once and joins their errors.
func each(work func(number int) error) error {
	errs := make([]error, *streams)
	var group sync.WaitGroup
	for number := range errs {
		group.Add(1)
		go func() {
			defer group.Done()
			errs[number] = work(number)
		}()
	}
	group.Wait()
	return errors.Join(errs...)
}

// exchange opens a stream, sends random bytes while it reads their echo, and closes.
func exchange(session *smux.Session, number int) error {
	random := rand.New(rand.NewSource(*seed*1000 + int64(number)))
	data := make([]byte, 1+random.Intn(maxBytes))
	random.Read(data)
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	defer stream.Close()
	sent := make(chan error, 1)
	go func() { sent <- write(stream, data, rand.New(rand.NewSource(*seed+int64(number)))) }()
	echo := sha256.New()
	if _, err := io.CopyN(echo, stream, int64(len(data))); err != nil {
		return fmt.Errorf("stream %d: %w", stream.ID(), err)
	}
	if [sha256.Size]byte(echo.Sum(nil)) != sha256.Sum256(data) {
		return fmt.Errorf("stream %d: the echo differs from what was sent", stream.ID())
	}
	return <-sent
}

// write sends data in pieces of random size.
func write(stream *smux.Stream, data []byte, random *rand.Rand) error {
	for len(data) > 0 {
		size := min(len(data), 1+random.Intn(100_000))
		if _, err := stream.Write(data[:size]); err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}

// serve echoes one stream until its end.
func serve(session *smux.Session, number int) error {
	stream, err := session.AcceptStream()
	if err != nil {
		return err
	}
	defer stream.Close()
	if number%2 == 0 {
		// The library's WriteTo: one frame at a time. Its normal end is an EOF.
		if _, err = io.Copy(stream, stream); err == io.EOF {
			return nil
		}
		return err
	}
	buffer := make([]byte, 1+rand.New(rand.NewSource(*seed)).Intn(50_000))
	_, err = io.CopyBuffer(onlyWriter{stream}, onlyReader{stream}, buffer)
	return err
}

// onlyReader and onlyWriter hide WriteTo, so that the copy goes through Read.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }
