package http2

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"genkan/proxy/fiber"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

// A session may answer while its client does not take what we send, but not
// without a bound.
func TestSealedBound(t *testing.T) {
	s := &sealed{}
	if _, err := s.Write(make([]byte, 3*maxOut)); err != nil {
		t.Errorf("nobody sends: %v", err)
	}
	s = &sealed{sending: true}
	for written := 0; ; written += 100 {
		_, err := s.Write(make([]byte, 100))
		if err == nil && written > maxUnasked {
			t.Fatalf("%d bytes were taken", written)
		}
		if err != nil {
			if err != errDeaf || written < maxUnasked-100 {
				t.Errorf("%v after %d bytes", err, written)
			}
			return
		}
	}
}

// Room is told once for each that waits for it.
func TestOutboxWaiting(t *testing.T) {
	o := &outbox{}
	a, b := &bell{}, &bell{}
	if !o.takes(a, 10) {
		t.Error("no room in an empty one")
	}
	o.Write(make([]byte, 10))
	for _, who := range []*bell{a, a, b} {
		if o.takes(who, 10) {
			t.Error("room in a full one")
		}
	}
	if !o.takes(a, 20) {
		t.Error("no room where there is")
	}
	if len(o.waiting) != 2 {
		t.Errorf("%d wait, want 2", len(o.waiting))
	}
	if o.err = io.ErrClosedPipe; !o.takes(a, 10) {
		t.Error("who cannot send waits")
	}
}

// The streams of a client that does not read wait, with little in memory, and
// go on once it does.
func TestOutboxOfDeafClient(t *testing.T) {
	const streams, frames = 20, 100
	loop, err := fiber.New()
	if err != nil {
		t.Fatal(err)
	}
	go loop.Run()
	t.Cleanup(loop.Close)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	accepted.(*net.TCPConn).SetWriteBuffer(4 << 10)
	conn, err := loop.Take(accepted.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	c := NewServer(Config{Sweeper: sweep.New()}).NewConn(conn, nil, message.Source{}, nil)
	c.sendWin, c.initWin = maxWindow, maxWindow
	var written [streams]int64
	content := make([]byte, maxFrame)
	loop.Post(func() {
		for i := range streams {
			st := &stream{c: c, id: uint32(2*i + 1), sendWin: maxWindow}
			st.bell.gate.Loop = loop
			loop.Go(func() {
				for range frames {
					if err := st.writeData(content, false, &written[i]); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	})
	deaf := func() (all bool) {
		told := make(chan bool)
		loop.Post(func() {
			c.out.mu.Lock()
			defer c.out.mu.Unlock()
			if len(c.out.buf) > maxOut+maxFrame+frameHeader {
				t.Errorf("%d bytes wait to be sent", len(c.out.buf))
			}
			all = len(c.out.waiting) == streams
			go func() { told <- all }()
		})
		return <-told
	}
	for deadline := time.Now().Add(20 * time.Second); !deaf(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the streams write on")
		}
	}
	client.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.CopyN(io.Discard, client, streams*frames*(maxFrame+frameHeader)); err != nil {
		t.Errorf("%d bytes: %v", n, err)
	}
	ended := make(chan struct{})
	loop.Post(func() {
		c.done = func() { close(ended) }
		c.close()
	})
	<-ended
}
