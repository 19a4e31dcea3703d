package tunneltest

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/tunnel"
)

// A Vector is one row of tunnel-packets.tsv.
type Vector struct {
	ID, Config string
	Packets    [][]byte
	Deliver    bool
	Reason     string
	Must       bool
}

// LoadVectors reads tunnel-packets.tsv.
func LoadVectors(tb testing.TB, file string) []Vector {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var out []Vector
	for n, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Split(line, "\t")
		if n == 0 {
			continue
		}
		if len(f) < 6 {
			tb.Fatalf("%s:%d: %d columns, want 6 at least", file, n+1, len(f))
		}
		v := Vector{ID: f[0], Config: f[1], Deliver: f[3] == "deliver", Reason: f[4], Must: f[5] == "must"}
		for _, h := range strings.Split(f[2], ",") {
			p, err := hex.DecodeString(h)
			if err != nil {
				tb.Fatalf("%s:%d: %v", file, n+1, err)
			}
			v.Packets = append(v.Packets, p)
		}
		out = append(out, v)
	}
	return out
}

// Configs are the receiving sides that the vectors speak of.
func Configs() map[string]tunnel.Config {
	addrs := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	return map[string]tunnel.Config{
		"A": {Prefix: netip.MustParsePrefix("2001:db8::/32"), Relays: addrs("198.51.100.1"),
			Local: netip.MustParseAddr("192.0.2.10")},
		"B": {Prefix: netip.MustParsePrefix("2001:db8::/32"), IPv4MaskLen: 8, Relays: addrs("10.0.0.1"),
			Local: netip.MustParseAddr("10.100.100.1")},
		"C": {Kind: tunnel.Kind6in4, Local: netip.MustParseAddr("192.0.2.10"), Remote: netip.MustParseAddr("198.51.100.1"),
			Address: netip.MustParsePrefix("2001:db8:100::2/64")},
	}
}

// A Judge has a tunnel in a namespace of its own and a wire to it.
type Judge struct {
	Tunnel *tunnel.Tunnel
	Front  *NS // where the tunnel is
	Peer   *NS // the other end of its uplink
	wire   *Wire
	seen   chan string
	remote netip.Addr
	n      int
}

// NewJudge brings up the configuration by a datapath and listens on UDPPort.
func NewJudge(tb testing.TB, cfg tunnel.Config) *Judge {
	tb.Helper()
	j := &Judge{Front: NewNS(tb), Peer: NewNS(tb), seen: make(chan string, 64)}
	j.remote = cfg.Remote
	if len(cfg.Relays) > 0 {
		j.remote = cfg.Relays[0]
	}
	gateway := cfg.Local.Prev()
	Veth(j.Front, "up0", netip.PrefixFrom(cfg.Local, 24), j.Peer, "peer0", netip.PrefixFrom(gateway, 24))
	j.Front.Route(netip.MustParsePrefix("0.0.0.0/0"), gateway)
	j.wire = NewWire(j.Peer, "peer0", j.Front.HardwareAddr("up0"))
	j.Tunnel = Start(tb, j.Front, cfg)
	if err := j.Tunnel.SetPorts([]tunnel.Port{{Proto: "udp", First: UDPPort}}); err != nil {
		tb.Fatal(err)
	}
	var conn net.PacketConn
	j.Front.Must(func() (err error) {
		conn, err = net.ListenPacket("udp6", fmt.Sprintf("[::]:%d", UDPPort))
		return err
	})
	tb.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				close(j.seen)
				return
			}
			id, _, _ := strings.Cut(string(buf[:n]), "F") // some rows are filled up
			j.seen <- id
		}
	}()
	return j
}

// Start brings a tunnel up in ns and serves it until the test ends.
func Start(tb testing.TB, ns *NS, cfg tunnel.Config) *tunnel.Tunnel {
	tb.Helper()
	t, _ := StartStop(tb, ns, cfg)
	return t
}

// StartStop is Start with a function that ends the tunnel earlier.
func StartStop(tb testing.TB, ns *NS, cfg tunnel.Config) (*tunnel.Tunnel, func()) {
	tb.Helper()
	if cfg.StateDir == "" {
		cfg.StateDir = tb.TempDir()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	var t *tunnel.Tunnel
	ns.Must(func() (err error) {
		t, err = tunnel.Up(context.Background(), cfg)
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- t.Serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Error("Serve:", err)
		}
		if err := t.Close(); err != nil {
			tb.Error("Close:", err)
		}
	})
	tb.Cleanup(stop)
	return t, stop
}

// Send puts the packets on the wire, then one that is certainly delivered, and
// returns the payloads that came before that one.
func (j *Judge) Send(tb testing.TB, packets ...[]byte) (ids []string) {
	tb.Helper()
	for _, p := range packets {
		j.wire.Send(p)
	}
	j.n++
	last := fmt.Sprintf("last-%d", j.n)
	src := netip.MustParseAddr("2606:4700::99")
	// With options: it takes the slow path, where there is one, and comes after
	// all that took the fast one.
	j.wire.Send(WithOptions(UDP(j.remote, j.Tunnel.Status().Local, src, j.Tunnel.Address(), last)))
	deadline := time.After(10 * time.Second)
	for {
		select {
		case id := <-j.seen:
			if id == last {
				return ids
			}
			ids = append(ids, id)
		case <-deadline:
			tb.Fatalf("the packet %q that proves the tunnel alive did not arrive; drops %v", last, j.Tunnel.Status().Drops)
		}
	}
}

// Check sends one row and compares what happened with its verdict.
func (j *Judge) Check(tb testing.TB, v Vector) {
	tb.Helper()
	before := j.Tunnel.Status().Received.Packets
	ids := j.Send(tb, v.Packets...)
	passed := j.Tunnel.Status().Received.Packets - before - 1 // less the last one
	named := false
	for _, id := range ids {
		named = named || strings.TrimRight(id, "O") == v.ID
	}
	switch {
	case !v.Deliver && named:
		tb.Errorf("%s: delivered, want drop: %s", v.ID, v.Reason)
	case v.Deliver && !named && passed == 0:
		tb.Errorf("%s: dropped, want deliver (%s); drops %v", v.ID, v.Reason, j.Tunnel.Status().Drops)
	}
}
