package tunneltest

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/tunnel"
)

// ICMPv6 types of neighbour discovery (RFC 4861 §4).
const (
	solicitation  = 135
	advertisement = 136
)

// Solicit builds the probe by which src asks whether dst is still there.
func Solicit(outerSrc, outerDst, src, dst netip.Addr, hops byte) []byte {
	target := dst.As16()
	in := Inner(unix.IPPROTO_ICMPV6, 2, src, dst, append([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0}, target[:]...))
	in[7] = hops
	return Encapsulate(outerSrc, outerDst, in)
}

// CheckNUD brings a 6in4 tunnel up by a datapath and probes it as the other end
// does: it answers (RFC 4213 §3.8), but not what a router has passed on (RFC
// 4861 §7.1.1).
func CheckNUD(tb testing.TB, datapath string) {
	tb.Helper()
	cfg := Configs()["C"]
	cfg.Datapath = datapath
	j := NewJudge(tb, cfg)
	j.Peer.Address("lo", netip.PrefixFrom(cfg.Remote, 32))
	var answers net.PacketConn
	j.Peer.Must(func() (err error) {
		answers, err = net.ListenPacket("ip4:41", cfg.Remote.String())
		return err
	})
	tb.Cleanup(func() { answers.Close() })
	far, near := cfg.Address.Masked().Addr().Next(), cfg.Address.Addr()
	j.Send(tb, Solicit(cfg.Remote, cfg.Local, far, near, 254))
	if n := j.Tunnel.Status().Drops["neighbor-discovery"]; n != 1 {
		tb.Errorf("a probe by way of a router: %d counted, want 1; drops %v", n, j.Tunnel.Status().Drops)
	}
	j.Send(tb, Solicit(cfg.Remote, cfg.Local, far, near, 255))
	buf := make([]byte, 2048)
	if err := answers.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	for found := 0; found == 0; {
		n, _, err := answers.ReadFrom(buf)
		if err != nil {
			tb.Fatalf("a probe has no answer: %v; drops %v", err, j.Tunnel.Status().Drops)
		}
		if n > 40 && buf[6] == unix.IPPROTO_ICMPV6 && buf[40] == advertisement {
			found++
		}
	}
	if st := j.Tunnel.Status(); st.Expose != tunnel.ExposeListeners {
		tb.Errorf("exposes %s: what keeps strangers out was not there", st.Expose)
	}
}
