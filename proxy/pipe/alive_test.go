package pipe_test

import (
	"context"
	"net"
	"testing"
	"time"

	"genkan/proxy/pipe"
)

// A loop that hangs in a handler is told from those that turn.
func TestAlive(t *testing.T) {
	e, err := pipe.New(pipe.Config{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := e.Alive(ctx); err != nil {
		t.Fatal(err)
	}
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hangs, release := make(chan bool), make(chan bool)
	if _, err := e.Accept(ln.(*net.TCPListener), func(*pipe.Conn) { close(hangs); <-release }); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-hangs
	soon, cancelSoon := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancelSoon()
	if err := e.Alive(soon); err == nil || err.Error() != "pipe: an event loop hangs" {
		t.Errorf("with a loop that hangs: %v", err)
	}
	close(release)
	if err := e.Alive(ctx); err != nil {
		t.Error(err)
	}
}
