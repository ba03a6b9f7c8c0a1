// One end of the handshake by another implementation: flynn/noise.
//
// noisepeer initiator|responder PSK PROLOGUE PRIVATE PAYLOAD, all but the first in hex. Messages are lines of hex
// on standard input and output; the last three lines are the received payload, and the keys of both directions.
package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"

	"github.com/flynn/noise"
)

func unhex(text string) []byte {
	data, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return data
}

func main() {
	initiator := os.Args[1] == "initiator"
	suite := noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256)
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:           suite,
		Random:                bytes.NewReader(unhex(os.Args[4])),
		Pattern:               noise.HandshakeNN,
		Initiator:             initiator,
		Prologue:              unhex(os.Args[3]),
		PresharedKey:          unhex(os.Args[2]),
		PresharedKeyPlacement: 0,
	})
	if err != nil {
		panic(err)
	}
	input := bufio.NewReader(os.Stdin)
	var received []byte
	var toServer, toClient *noise.CipherState
	for turn := 0; turn < 2; turn++ {
		if initiator == (turn == 0) {
			message, first, second, err := state.WriteMessage(nil, unhex(os.Args[5]))
			if err != nil {
				panic(err)
			}
			toServer, toClient = first, second
			fmt.Println(hex.EncodeToString(message))
			continue
		}
		line, err := input.ReadBytes('\n')
		if err != nil {
			panic(err)
		}
		received, toServer, toClient, err = state.ReadMessage(nil, unhex(string(bytes.TrimSpace(line))))
		if err != nil {
			fmt.Println("refused")
			os.Exit(1)
		}
	}
	fmt.Println(hex.EncodeToString(received))
	for _, direction := range []*noise.CipherState{toServer, toClient} {
		key := direction.UnsafeKey()
		fmt.Println(hex.EncodeToString(key[:]))
	}
}
