package tunnel_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"genkan/tunnel"
	"genkan/tunnel/tunneltest"
)

// expose = "listeners": an sshd that listens on [::] is not reachable through
// the tunnel, our listeners are, and what this side begins is answered.
func TestExposeListeners(t *testing.T) {
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace}
	p := tunneltest.NewPair(t, cfg, tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll})
	web, ssh := listen(t, p.EdgeNS), listen(t, p.EdgeNS)
	outside := listen(t, p.Client)
	echoUDP(t, p.EdgeNS, p.Edge.Address(), 4000)
	echoUDP(t, p.EdgeNS, p.Edge.Address(), 4010)
	echoUDP(t, p.Client, p.ClientAddr, 4000)
	port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }

	admit := func(ports ...tunnel.Port) {
		t.Helper()
		if err := p.Edge.SetPorts(ports); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want bool, what string, got bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: reachable %v, want %v; drops %v", what, got, want, p.Edge.Status().Drops)
		}
	}
	check(false, "tcp before SetPorts", dialTCP(p.Client, p.Edge.Address(), port(web)))
	admit(tunnel.Port{Proto: "tcp", First: port(web)}, tunnel.Port{Proto: "udp", First: 4000, Last: 4005}, tunnel.Port{Proto: "udp", First: 4003, Last: 4009})
	check(true, "tcp listener", dialTCP(p.Client, p.Edge.Address(), port(web)))
	check(true, "udp listener", askUDP(p.Client, p.Edge.Address(), 4000))
	check(false, "another tcp port", dialTCP(p.Client, p.Edge.Address(), port(ssh)))
	check(false, "another udp port", askUDP(p.Client, p.Edge.Address(), 4010))
	check(true, "tcp from inside", dialTCP(p.EdgeNS, p.ClientAddr, port(outside)))
	check(true, "udp from inside", askUDP(p.EdgeNS, p.ClientAddr, 4000))
	if n := p.Edge.Status().Drops["not-exposed"]; n == 0 {
		t.Error("nothing counted as not-exposed")
	}
	if got, want := p.Edge.Status().Filter, "stateful"; got != want {
		t.Errorf("filter %s, want %s", got, want)
	}
	admit(tunnel.Port{Proto: "tcp", First: port(ssh)})
	check(true, "tcp port admitted later", dialTCP(p.Client, p.Edge.Address(), port(ssh)))
	check(false, "tcp port withdrawn", dialTCP(p.Client, p.Edge.Address(), port(web)))
}

// strict is what people write who want a host shut, with a hole for port %d.
const strict = `table inet strict {
	chain in {
		type filter hook input priority 0; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		ct state new tcp dport %d accept
		ip protocol 41 accept
	}
	chain out {
		type filter hook output priority 0; policy drop;
		ct state established,related accept
		ip protocol 41 accept
	}
}
`

// Rules of others that ask conntrack find our listeners' connections there,
// whoever came first. Where there are none, conntrack is spared.
func TestBesideStatefulFirewall(t *testing.T) {
	cfg := tunnel.Config{Datapath: tunnel.DatapathUserspace}
	p := tunneltest.NewPair(t, cfg, tunnel.Config{Datapath: tunnel.DatapathUserspace, Expose: tunnel.ExposeAll})
	web := listen(t, p.EdgeNS)
	port := uint16(web.Addr().(*net.TCPAddr).Port)
	if err := p.Edge.SetPorts([]tunnel.Port{{Proto: "tcp", First: port}}); err != nil {
		t.Fatal(err)
	}
	follows := func(what string, untracked bool) {
		t.Helper()
		for deadline := time.Now().Add(healed); ; time.Sleep(10 * time.Millisecond) {
			reached := dialTCP(p.Client, p.Edge.Address(), port)
			if reached && strings.Contains(nft(t, p.EdgeNS, "", "list", "ruleset"), "notrack") == untracked {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: reached %v; the rules:\n%s", what, reached, nft(t, p.EdgeNS, "", "list", "ruleset"))
			}
		}
	}
	follows("alone", true)
	nft(t, p.EdgeNS, fmt.Sprintf(strict, port), "-f", "-")
	follows("beside a stateful firewall", false)
	deleteLink(p.EdgeNS, "tun6rd")
	follows("made again beside it", false)
	nft(t, p.EdgeNS, "", "delete", "table", "inet", "strict")
	follows("alone again", true)
	nft(t, p.EdgeNS, "table ip6 other { chain in { type filter hook input priority 0; tcp dport 1 drop; }; }", "-f", "-")
	follows("beside a stateless firewall", true)
}

// nft runs nft(8) in a namespace.
func nft(t *testing.T, ns *tunneltest.NS, input string, args ...string) (output string) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		tunneltest.Skip(t, "missing: the program nft")
	}
	ns.Must(func() error {
		cmd := exec.Command("nft", args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		output = string(out)
		if err != nil {
			return fmt.Errorf("nft %v: %w: %s", args, err, out)
		}
		return nil
	})
	return output
}

// A source of our 6rd domain that comes by another interface has not been
// compared with any outer source.
func TestForeign6RDSource(t *testing.T) {
	ns, cfg := front(t)
	peer := tunneltest.NewNS(t)
	native := netip.MustParsePrefix("2001:db8:77::1/64")
	tunneltest.Veth(ns, "native0", native, peer, "peer0", netip.MustParsePrefix("2001:db8:77::2/64"))
	peer.Address("peer0", netip.MustParsePrefix("2001:e41:c000:201::1/128"))
	cfg.Expose = tunnel.ExposeAll
	tunneltest.Start(t, ns, cfg)
	l := listen(t, ns)
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	from := func(src string) bool {
		var err error
		peer.Do(func() {
			var c net.Conn
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(src), 0)), Timeout: silence}
			if c, err = d.Dial("tcp", netip.AddrPortFrom(native.Addr(), port).String()); err == nil {
				c.Close()
			}
		})
		return err == nil
	}
	if !from("2001:db8:77::2") {
		t.Error("a native source is not let in")
	}
	if from("2001:e41:c000:201::1") {
		t.Error("a source of the 6rd domain is let in by another interface")
	}
}

// silence is how long nothing has to come back to mean that it was dropped.
const silence = 500 * time.Millisecond

func listen(t *testing.T, ns *tunneltest.NS) net.Listener {
	t.Helper()
	var l net.Listener
	ns.Must(func() (err error) {
		l, err = net.Listen("tcp", "[::]:0")
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func dialTCP(from *tunneltest.NS, addr netip.Addr, port uint16) bool {
	var err error
	from.Do(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", netip.AddrPortFrom(addr, port).String(), silence); err == nil {
			c.Close()
		}
	})
	return err == nil
}

// echoUDP answers each datagram until the test ends.
func echoUDP(t *testing.T, ns *tunneltest.NS, addr netip.Addr, port uint16) {
	t.Helper()
	var c net.PacketConn
	ns.Must(func() (err error) {
		c, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, port).String())
		return err
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
}

func askUDP(from *tunneltest.NS, addr netip.Addr, port uint16) bool {
	var c net.Conn
	var err error
	from.Do(func() { c, err = net.Dial("udp", netip.AddrPortFrom(addr, port).String()) })
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(silence))
	n, err := c.Read(make([]byte, 16))
	return err == nil && n == 5
}
