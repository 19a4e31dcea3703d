package tunnel_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// TestEBPFRestart: with its programs pinned, the tunnel carries traffic while
// no process serves it, and a stream does not notice that one takes it over.
func TestEBPFRestart(t *testing.T) {
	requireEBPF(t)
	p, cfg := pairWithoutEdge(t)
	before := p.EdgeNS.Snapshot()
	pins := mountBPF(t, filepath.Join(cfg.StateDir, "bpf"))

	first := up(t, p.EdgeNS, cfg)
	own := first.Address()
	tunneltest.Transfer(t, p.Client, p.EdgeNS, own, 1<<20)
	received := first.Status().Received.Packets
	if err := first.Leave(); err != nil {
		t.Fatal("Leave:", err)
	}
	if got := pinned(t, pins); len(got) != 1 {
		t.Fatalf("pinned are %v, want one directory", got)
	}

	// Nobody serves; then a second process takes over in the middle of a stream.
	tunneltest.Transfer(t, p.Client, p.EdgeNS, own, 1<<20)
	stream, answered, stop := ping(t, p, own)
	second := up(t, p.EdgeNS, cfg)
	until := answered.Load() + 100
	for deadline := time.Now().Add(10 * time.Second); answered.Load() < until && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	stop()
	if lost := <-stream; lost != 0 {
		t.Errorf("%d datagrams were lost in the takeover", lost)
	}
	if n := second.Status().Received.Packets; n <= received+700 {
		t.Errorf("the counters do not go on: %d after %d and a transfer", n, received)
	}
	if got := second.Address(); got != own {
		t.Errorf("address %v, was %v", got, own)
	}
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)
	if err := second.Close(); err != nil {
		t.Fatal("Close:", err)
	}
	if got := pinned(t, pins); len(got) != 0 {
		t.Errorf("still pinned: %v", got)
	}
	if after := p.EdgeNS.Snapshot(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}

// pairWithoutEdge is a pair whose edge the test brings up itself.
func pairWithoutEdge(t *testing.T) (*tunneltest.Pair, tunnel.Config) {
	t.Helper()
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	p := &tunneltest.Pair{EdgeNS: tunneltest.NewNS(t), RelayNS: tunneltest.NewNS(t), Client: tunneltest.NewNS(t), ClientAddr: addr("2606:4700::2")}
	tunneltest.Veth(p.EdgeNS, "up0", prefix("203.0.113.5/24"), p.RelayNS, "up0", prefix("203.0.113.1/24"))
	tunneltest.Veth(p.RelayNS, "net0", prefix("2606:4700::1/64"), p.Client, "net0", prefix("2606:4700::2/64"))
	p.Client.Route(prefix("::/0"), addr("2606:4700::1"))
	cfg := tunnel.Config{Prefix: prefix("2001:e41::/32"), Datapath: tunnel.DatapathEBPF, Expose: tunnel.ExposeAll, StateDir: t.TempDir()}
	relay := cfg
	relay.Role, relay.Local, relay.StateDir, relay.Datapath = tunnel.RoleRelay, addr("203.0.113.1"), "", tunnel.DatapathUserspace
	p.Relay = tunneltest.Start(t, p.RelayNS, relay)
	cfg.Relays = []netip.Addr{relay.Local}
	return p, cfg
}

// ping sends numbered datagrams to an echo server on the edge until stop is
// called, and says how many were answered, and in the end how many were not.
func ping(t *testing.T, p *tunneltest.Pair, own netip.Addr) (lost <-chan int, answered *atomic.Int64, stop func()) {
	t.Helper()
	var echo *net.UDPConn
	p.EdgeNS.Must(func() (err error) {
		echo, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0)))
		return err
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		buf := make([]byte, 64)
		for {
			n, from, err := echo.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	var conn *net.UDPConn
	p.Client.Must(func() (err error) {
		conn, err = net.DialUDP("udp6", nil, echo.LocalAddr().(*net.UDPAddr))
		return err
	})
	done, result := make(chan struct{}), make(chan int, 1)
	answered = new(atomic.Int64)
	go func() {
		buf, missing := make([]byte, 64), 0
		for {
			_, err := conn.Write([]byte("ping"))
			_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
			if err == nil {
				_, err = conn.Read(buf)
			}
			if err != nil {
				missing++
			} else {
				answered.Add(1)
			}
			select {
			case <-done:
				result <- missing
				return
			default:
			}
		}
	}()
	t.Cleanup(func() { echo.Close(); conn.Close(); <-served })
	return result, answered, func() { close(done) }
}

// mountBPF mounts a bpffs of the test's own.
func mountBPF(t *testing.T, dir string) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		tunneltest.Skip(t, fmt.Sprintf("no bpffs can be mounted: %v", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func pinned(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "genkan") { // the kernel has two files of its own there
			names = append(names, e.Name())
		}
	}
	return names
}

// TestEBPFKilled: a process that is killed takes nothing with it, and the next
// one leaves nothing behind.
func TestEBPFKilled(t *testing.T) {
	requireEBPF(t)
	p, cfg := pairWithoutEdge(t)
	before := p.EdgeNS.Snapshot()
	pins := mountBPF(t, filepath.Join(cfg.StateDir, "bpf"))
	child := startChild(t, p.EdgeNS, cfg)
	own := netip.MustParseAddr("2001:e41:cb00:7105::1")
	tunneltest.Transfer(t, p.Client, p.EdgeNS, own, 1<<20)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed, as it should be
	tunneltest.Transfer(t, p.Client, p.EdgeNS, own, 1<<20)
	tunneltest.Transfer(t, p.EdgeNS, p.Client, p.ClientAddr, 1<<20)

	// Another datapath takes over: the programs go.
	cfg.Datapath = tunnel.DatapathUserspace
	next := up(t, p.EdgeNS, cfg)
	if got := pinned(t, pins); len(got) != 0 {
		t.Errorf("still pinned: %v", got)
	}
	if err := next.Close(); err != nil {
		t.Fatal("Close:", err)
	}
	if after := p.EdgeNS.Snapshot(); after != before {
		t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
	}
}
