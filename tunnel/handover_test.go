package tunnel_test

import (
	"context"
	"testing"
	"time"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// One process hands its descriptors to another, in the middle of a stream that
// does not notice.
func TestHandover(t *testing.T) {
	p, cfg := pairWithoutEdge(t)
	cfg.Datapath = tunnel.DatapathUserspace
	before := p.EdgeNS.Snapshot()
	first := up(t, p.EdgeNS, cfg)
	stopFirst := serve(t, first)
	stream, answered, stop := ping(t, p, first.Address())
	await(t, answered.Load, 100)

	files, err := first.Files()
	if err != nil {
		t.Fatal("Files:", err)
	}
	stopFirst()
	cfg.Inherited = files
	second := up(t, p.EdgeNS, cfg)
	stopSecond := serve(t, second)
	if err := first.Leave(); err != nil {
		t.Fatal("Leave:", err)
	}
	await(t, answered.Load, answered.Load()+100)
	stop()
	if lost := <-stream; lost != 0 {
		t.Errorf("%d datagrams were lost in the handover", lost)
	}
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
	stopSecond()
	if err := second.Close(); err != nil {
		t.Fatal("Close:", err)
	}
	if after := p.EdgeNS.Snapshot(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// serve serves until the function that it returns is called.
func serve(t *testing.T, tun *tunnel.Tunnel) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- tun.Serve(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error("Serve:", err)
		}
	}
}

// await waits until a figure has reached a bound.
func await(t *testing.T, figure func() int64, bound int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); figure() < bound; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d after 10 s, want %d", figure(), bound)
		}
	}
}
