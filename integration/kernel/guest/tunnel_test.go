package guest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/tunnel"
)

// patience bounds each wait. The guest's processor is emulated, by a machine
// that may be busy.
const patience = time.Minute

func mustLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// edge and relay are the two ends, but for the datapath and the MTU.
func edge() tunnel.Config {
	return tunnel.Config{Prefix: lab.SixRD, Relays: []netip.Addr{lab.RelayV4}, Expose: tunnel.ExposeAll}
}

func relay() tunnel.Config {
	return tunnel.Config{Role: tunnel.RoleRelay, Prefix: lab.SixRD, Local: lab.RelayV4, Expose: tunnel.ExposeAll}
}

// mustUp brings a tunnel up in the namespace, serves it, and takes it down at
// the end of the test or by the function returned.
func mustUp(t *testing.T, n *lab.Namespace, cfg tunnel.Config) (*tunnel.Tunnel, func()) {
	t.Helper()
	cfg.StateDir = t.TempDir()
	var tun *tunnel.Tunnel
	err := n.Do(func() (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		tun, err = tunnel.Up(ctx, cfg)
		return err
	})
	if err != nil {
		t.Fatalf("%s, datapath %q: %v", n.Name, cfg.Datapath, err)
	}
	if cfg.Datapath != "" && tun.Datapath() != cfg.Datapath {
		t.Errorf("%s: datapath %q, want %q", n.Name, tun.Datapath(), cfg.Datapath)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- tun.Serve(ctx) }()
	down := false
	take := func() {
		if down {
			return
		}
		down = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("%s: Serve: %v", n.Name, err)
		}
		if err := tun.Close(); err != nil {
			t.Errorf("%s: Close: %v", n.Name, err)
		}
	}
	t.Cleanup(take)
	return tun, take
}

// Each datapath alone: it comes up by its name and leaves nothing.
func TestUpAndClose(t *testing.T) {
	for _, dp := range datapaths(t) {
		for role, cfg := range map[string]tunnel.Config{"edge": edge(), "relay": relay()} {
			t.Run(dp+"-"+role, func(t *testing.T) {
				l := mustLab(t)
				n := l.Front
				if role == "relay" {
					n = l.Relay
				}
				before := mustSnapshot(t, n)
				cfg.Datapath = dp
				cfg.Expose = tunnel.ExposeListeners
				_, down := mustUp(t, n, cfg)
				during := lab.Diff(before, mustSnapshot(t, n))
				if !slices.ContainsFunc(during, func(s string) bool { return len(s) > 12 && s[:12] == "+ nft table " }) {
					t.Errorf("no nft table while up: %q", during)
				}
				down()
				if diff := lab.Diff(before, mustSnapshot(t, n)); len(diff) != 0 {
					t.Errorf("left behind: %q", diff)
				}
			})
		}
	}
}

// mustSnapshot is taken once the kernel has made the routes that belong to the
// addresses: it does when it has noticed that a new cable is plugged in.
func mustSnapshot(t *testing.T, n *lab.Namespace) []string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		s, err := n.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if missing := withoutRoute(s); missing == "" {
			s, err = n.Snapshot() // what came with the last route, too
			if err != nil {
				t.Fatal(err)
			}
			return s
		} else if time.Now().After(deadline) {
			t.Fatalf("%s: %q has no local route in %q", n.Name, missing, s)
		}
		time.Sleep(time.Millisecond)
	}
}

// withoutRoute is the first IPv6 address of a snapshot that has no local route.
func withoutRoute(snapshot []string) string {
	for _, line := range snapshot {
		var addr string
		if n, _ := fmt.Sscanf(line, "address %s", &addr); n != 1 || !strings.Contains(addr, ":") {
			continue
		}
		addr, _, _ = strings.Cut(addr, "/")
		if !slices.ContainsFunc(snapshot, func(s string) bool { return strings.HasPrefix(s, "route "+addr+"/128 ") }) {
			return addr
		}
	}
	return ""
}

// Every datapath as the edge with every datapath as the relay, at both MTUs:
// a megabyte of TCP each way and datagrams that just fit, between a host on
// the IPv6 Internet and the edge.
func TestTraffic(t *testing.T) {
	for _, e := range datapaths(t) {
		for _, r := range datapaths(t) {
			for _, mtu := range []int{1280, 1480} {
				t.Run(fmt.Sprintf("%s-%s-%d", e, r, mtu), func(t *testing.T) {
					l := mustLab(t)
					ec, rc := edge(), relay()
					ec.Datapath, ec.MTU = e, mtu
					rc.Datapath, rc.MTU = r, mtu
					mustUp(t, l.Relay, rc)
					mustUp(t, l.Front, ec)
					checkTCP(t, l)
					checkUDP(t, l, mtu)
				})
			}
		}
	}
}

// checkTCP has client6 and the front send a megabyte at once and compares the
// sums.
func checkTCP(t *testing.T, l *lab.Lab) {
	t.Helper()
	checkTCPTo(t, l, lab.Front6)
}

func checkTCPTo(t *testing.T, l *lab.Lab, front netip.Addr) {
	t.Helper()
	const size = 1 << 20
	listener := mustListen(t, l.Front)
	defer listener.Close()
	type result struct {
		sum string
		err error
	}
	server := make(chan result, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			server <- result{err: err}
			return
		}
		sum, err := exchange(c, 'f', size)
		server <- result{sum, err}
	}()
	var c net.Conn
	err := l.Client6.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", fmt.Sprintf("[%s]:7000", front), patience)
		return err
	})
	if err != nil {
		listener.Close() // ends Accept
		t.Fatalf("TCP connect: %v (server: %v)", err, (<-server).err)
	}
	gotClient, err := exchange(c, 'c', size)
	got := <-server
	if err := errors.Join(err, got.err); err != nil {
		t.Fatalf("TCP: %v", err)
	}
	if gotClient != sumOf('f', size) || got.sum != sumOf('c', size) {
		t.Error("TCP: the bytes differ from those sent")
	}
}

func mustListen(t *testing.T, n *lab.Namespace) net.Listener {
	t.Helper()
	var listener net.Listener
	err := n.Do(func() (err error) {
		listener, err = net.Listen("tcp", "[::]:7000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// exchange sends size bytes made from seed, ends its direction, and returns
// the sum of what it receives.
func exchange(c net.Conn, seed byte, size int64) (string, error) {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, io.LimitReader(random(seed), size))
		sent <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	h := sha256.New()
	_, err := io.Copy(h, c)
	return string(h.Sum(nil)), errors.Join(err, <-sent)
}

func sumOf(seed byte, size int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, io.LimitReader(random(seed), size))
	return string(h.Sum(nil))
}

// random is an endless stream that a seed decides.
func random(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// checkUDP sends datagrams that fill a packet, each way, until one of each
// size has been answered.
func checkUDP(t *testing.T, l *lab.Lab, mtu int) {
	t.Helper()
	var server, client *net.UDPConn
	err := errors.Join(
		l.Front.Do(func() (err error) {
			server, err = net.ListenUDP("udp6", &net.UDPAddr{Port: 7000})
			return err
		}),
		l.Client6.Do(func() (err error) {
			client, err = net.DialUDP("udp6", nil, &net.UDPAddr{IP: lab.Front6.AsSlice(), Port: 7000})
			return err
		}))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // echo
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	defer func() { server.Close(); client.Close(); <-done }()
	for _, size := range []int{1, 1000, mtu - 48} { // 40 of IPv6, 8 of UDP
		if err := echo(client, size); err != nil {
			t.Errorf("UDP, %d bytes at MTU %d: %v", size, mtu, err)
		}
	}
}

func echo(c *net.UDPConn, size int) error {
	out := make([]byte, size)
	_, _ = random(byte(size)).Read(out)
	in := make([]byte, 2048)
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if _, err := c.Write(out); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if n, err := c.Read(in); err == nil && slices.Equal(in[:n], out) {
			return nil
		}
	}
	return errors.New("no answer")
}
