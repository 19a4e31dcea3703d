package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
)

// A speaker is one direction of one connection.
type speaker struct {
	number uint32
	upward bool // from client to backend
}

// maxChunk is the most that is written or read at once.
const maxChunk = 4 << 10

// sizes draws the speaker's random numbers: of its chunks, or of those in which
// it is heard.
func (s speaker) sizes(heard bool) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(s.number)<<1|bit(s.upward), bit(heard)))
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// chunk is mostly small, now and then large.
func chunk(r *rand.Rand) int { return 1 + r.IntN(2<<r.IntN(12)) }

// amount is how many bytes the speaker says.
func (s speaker) amount(size int) int {
	return 1 + rand.New(rand.NewPCG(uint64(s.number), 2+bit(s.upward))).IntN(2*size)
}

func (s speaker) noise() *rand.ChaCha8 {
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], s.number)
	seed[4] = byte(bit(s.upward))
	return rand.NewChaCha8(seed)
}

// say writes all that the speaker says, and ends the direction.
func (s speaker) say(c *net.TCPConn, size int) error {
	noise, sizes, buffer := s.noise(), s.sizes(false), make([]byte, maxChunk)
	for left := s.amount(size); left > 0; {
		p := buffer[:min(chunk(sizes), left)]
		noise.Read(p)
		if _, err := c.Write(p); err != nil {
			return fmt.Errorf("%d bytes before the end: %w", left, err)
		}
		left -= len(p)
	}
	return c.CloseWrite()
}

// hear reads all that the speaker says, and its end.
func (s speaker) hear(c *net.TCPConn, size int) error {
	noise, sizes := s.noise(), s.sizes(true)
	got, want := make([]byte, maxChunk), make([]byte, maxChunk)
	all := s.amount(size)
	for at := 0; ; {
		n, err := c.Read(got[:chunk(sizes)])
		noise.Read(want[:n])
		switch {
		case at+n > all:
			return fmt.Errorf("%d bytes more than the %d that were sent", at+n-all, all)
		case !bytes.Equal(got[:n], want[:n]):
			return fmt.Errorf("other bytes than sent, between %d and %d", at, at+n)
		}
		at += n
		if errors.Is(err, io.EOF) && at == all {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ended after %d of %d bytes: %w", at, all, err)
		}
	}
}

// talk is one connection's exchange: it says the one and hears the other at the
// same time.
func talk(c *net.TCPConn, says, hears speaker, size int) error {
	said := make(chan error, 1)
	go func() { said <- says.say(c, size) }()
	heard := hears.hear(c, size)
	return errors.Join(heard, <-said)
}
