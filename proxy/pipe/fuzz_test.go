package pipe

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// copyPair is the oracle: what the engine does, as simply as it can be said.
func copyPair(client, backend *net.TCPConn, done func()) {
	var wait sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{client, backend}, {backend, client}} {
		wait.Go(func() {
			io.Copy(way[1], way[0])
			way[1].CloseWrite()
		})
	}
	go func() {
		wait.Wait()
		client.Close()
		backend.Close()
		done()
	}()
}

// FuzzChunks plays a script through the engine and through io.Copy: both peers
// must receive the same. Each byte of the script is a step of the peer that its
// lowest bit names: a write of up to 32 KiB, or a pause until all has arrived.
func FuzzChunks(f *testing.F) {
	f.Add([]byte{0x10, 0x11, 0x03, 0xf2, 0xf4, 0xf6, 0xf8})
	f.Add([]byte("\x00\x02\x04\x06\x08\x0a\x0c\x0e\x01\x03\x05\x07"))
	f.Add(bytes.Repeat([]byte{0xfc, 0xfd}, 64)) // bulk both ways
	f.Add(bytes.Repeat([]byte{0xfc, 0x01}, 40))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		e := startEngine(t, Config{Loops: 1})
		up, down := play(t, script, func(client, backend *net.TCPConn, done func()) {
			e.Relay(client, backend, Options{Done: func(r Result) {
				if r.Reason != EOF {
					t.Errorf("ended by %v of %v (%v)", r.Reason, r.Side, r.Err)
				}
				done()
			}})
		})
		wantUp, wantDown := play(t, script, copyPair)
		if !bytes.Equal(up, wantUp) || !bytes.Equal(down, wantDown) {
			t.Errorf("%d bytes up and %d down, want %d and %d, and the same ones", len(up), len(down), len(wantUp), len(wantDown))
		}
	})
}

// play returns what the backend and the client received.
func play(t *testing.T, script []byte, relay func(client, backend *net.TCPConn, done func())) (up, down []byte) {
	t.Helper()
	var peers [2]*net.TCPConn
	var middle [2]*net.TCPConn
	peers[0], middle[0] = tcpPair(t, "[::1]:0")
	peers[1], middle[1] = tcpPair(t, "127.0.0.1:0")
	ended := make(chan struct{})
	relay(middle[0], middle[1], func() { close(ended) })

	var got [2]receiver
	var wait sync.WaitGroup
	for i := range peers {
		got[i].arrived = sync.NewCond(&got[i].mu)
		wait.Go(func() { got[i].readAll(t, peers[1-i]) })
	}
	src := newNoise(5)
	var sent [2]int
	for _, step := range script {
		who, kind, size := step&1, step>>1&1, 1<<(step>>2&15)
		if kind == 1 {
			got[who].until(sent[who])
			continue
		}
		p := make([]byte, min(size+int(step), 32<<10))
		src.Read(p)
		if _, err := peers[who].Write(p); err != nil {
			t.Fatal(err)
		}
		sent[who] += len(p)
	}
	peers[0].CloseWrite()
	peers[1].CloseWrite()
	wait.Wait()
	<-ended
	return got[0].bytes, got[1].bytes
}

// A receiver keeps what one peer sent.
type receiver struct {
	mu      sync.Mutex
	arrived *sync.Cond
	bytes   []byte
	over    bool
}

func (r *receiver) readAll(t *testing.T, c *net.TCPConn) {
	p := make([]byte, 16<<10)
	for {
		n, err := c.Read(p)
		r.mu.Lock()
		r.bytes = append(r.bytes, p[:n]...)
		r.over = err != nil
		r.arrived.Broadcast()
		r.mu.Unlock()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			return
		}
	}
}

// until waits for n bytes, or for the end.
func (r *receiver) until(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.bytes) < n && !r.over {
		r.arrived.Wait()
	}
}
