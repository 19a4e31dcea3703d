package integration

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"

	"golang.org/x/sys/unix"
)

// reach connects from a namespace and says whether it could. A filter is
// silent, so "no" takes the whole time limit.
func reach(n *lab.Namespace, addr string, limit time.Duration) error {
	return n.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, limit)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// A host that gets IPv6 overnight must not show its other daemons to the
// world. The second row proves that the first can fail.
func TestTunnelExposesListenersOnly(t *testing.T) {
	for _, row := range []struct {
		expose    string
		reachable bool
	}{
		{"listeners", false},
		{"all", true},
	} {
		t.Run(row.expose, func(t *testing.T) {
			w := mustWorld(t)
			startSSHD(t, w, "[::]:2222")
			w.front(t, tunnelConfig+fmt.Sprintf("expose = %q\n", row.expose)+siteOnly)
			if err := reach(w.Client6, "["+lab.Front6.String()+"]:80", patience); err != nil {
				t.Fatalf("our own listener: %v", err)
			}
			limit := patience
			if !row.reachable {
				limit = 3 * time.Second
			}
			err := reach(w.Client6, "["+lab.Front6.String()+"]:2222", limit)
			if row.reachable != (err == nil) {
				t.Errorf("sshd on [::]:2222 through the tunnel: %v, want reachable: %v", err, row.reachable)
			}
			if err := reach(w.Front, "[::1]:2222", patience); err != nil {
				t.Errorf("sshd from the front itself: %v", err)
			}
		})
	}
}

// siteOnly is the site of siteConfig, to follow a [tunnel].
var siteOnly = siteConfig[len(tunnelConfig):]

func startSSHD(t *testing.T, w *world, listen string) {
	t.Helper()
	sshd := require.Program(t, "/usr/sbin/sshd", "openssh-server")
	keygen := require.Program(t, "ssh-keygen", "openssh-client")
	key := filepath.Join(w.Dir, "hostkey")
	if out, err := w.Front.Output(t.Context(), keygen, "-q", "-t", "ed25519", "-N", "", "-f", key); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	config := filepath.Join(w.Dir, "sshd_config")
	mustWrite(t, config, "AddressFamily any\nListenAddress "+listen+"\nHostKey "+key+"\nAuthorizedKeysFile "+key+".pub\nStrictModes no\nPidFile none\nUsePAM no\nUseDNS no\n")
	// Its privilege separation folder is below /run.
	cmd, err := w.Private(w.Front, "/bin/sh", "-c", `mkdir -p /run/sshd && exec "$@"`, "sh", sshd, "-D", "-e", "-f", config)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	if err := p.WaitFor("Server listening on", patience); err != nil {
		t.Fatal(err)
	}
}

func mustSnapshot(t *testing.T, n *lab.Namespace) []string {
	t.Helper()
	s, err := n.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkUntouched compares the namespace with how it was.
func checkUntouched(t *testing.T, n *lab.Namespace, before []string, when string) {
	t.Helper()
	if diff := lab.Diff(before, mustSnapshot(t, n)); len(diff) != 0 {
		t.Errorf("%s, the %s differs:\n%q", when, n.Name, diff)
	}
}

// SIGTERM takes back all that Genkan made: at the front and at the relay.
func TestStopLeavesNothing(t *testing.T) {
	w := mustQuietWorld(t)
	before, relayBefore := mustSnapshot(t, w.Front), mustSnapshot(t, w.Relay)
	w.startRelay(t)
	p := w.front(t, siteConfig)
	if !slices.ContainsFunc(lab.Diff(before, mustSnapshot(t, w.Front)), func(s string) bool { return s[0] == '+' }) {
		t.Fatal("the snapshot does not show the tunnel")
	}
	if err := p.Stop(patience); err != nil {
		t.Errorf("exit after SIGTERM: %v\n%s", err, p.Output())
	}
	checkUntouched(t, w.Front, before, "after SIGTERM")
	if err := w.relay.Stop(patience); err != nil {
		t.Errorf("relay's exit after SIGTERM: %v\n%s", err, w.relay.Output())
	}
	checkUntouched(t, w.Relay, relayBefore, "after SIGTERM")
}

// SIGKILL leaves the tunnel; the next start adopts it, serves again, and its
// SIGTERM leaves nothing.
func TestKillAndRestart(t *testing.T) {
	w := mustWorld(t)
	a := servers.StartApache(t, w.Lab, "Require all granted")
	before := mustSnapshot(t, w.Front)
	p := w.front(t, siteConfig)
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p = w.front(t, siteConfig)
	status, body := curl(t, w.Client6, "-H", "Host: www.example.jp", "http://["+lab.Front6.String()+"]/?again")
	if status != 200 || body != servers.Page {
		t.Errorf("after the restart: %d %q", status, body)
	}
	a.WaitLog(t, fmt.Sprintf(`peer=%s xff=%s "GET /?again HTTP/1.1" 200`, lab.InsideV4, lab.Client6))
	if err := p.Stop(patience); err != nil {
		t.Errorf("exit after SIGTERM: %v\n%s", err, p.Output())
	}
	checkUntouched(t, w.Front, before, "after SIGKILL, restart and SIGTERM")
}

// An IPv6 packet whose source on the wire is ::ffff:a.b.c.d would look like an
// IPv4 client to an ACL. A UDP socket that is open to the world sees the honest
// datagram and not the forged ones.
func TestMappedSourceOnTheWireIsDropped(t *testing.T) {
	w := mustWorld(t)
	w.front(t, tunnelConfig+"expose = \"all\"\n"+siteOnly)
	var socket *net.UDPConn
	err := w.Front.Do(func() (err error) {
		socket, err = net.ListenUDP("udp", &net.UDPAddr{Port: 4242})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for _, source := range []string{"::ffff:192.0.2.10", "::ffff:10.0.0.1", "::192.0.2.10", "::1", lab.Client6.String()} {
		inject(t, w, udp6in4(lab.RelayV4, netip.MustParseAddr(source), "from "+source))
	}
	// The honest one came last: when it is here the others would be too.
	var got []string
	buf := make([]byte, 256)
	for {
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, from, err := socket.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatalf("honest datagram: %v; got %q", err, got)
		}
		got = append(got, string(buf[:n]))
		if from.Addr() == lab.Client6 {
			break
		}
	}
	if want := []string{"from " + lab.Client6.String()}; !slices.Equal(got, want) {
		t.Errorf("datagrams at the front: %q, want %q", got, want)
	}
}

// inject puts an IPv4 packet on the ISP's cable to the front.
func inject(t *testing.T, w *world, packet []byte) {
	t.Helper()
	err := w.ISP.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: lab.FrontV4.As4()})
	})
	if err != nil {
		t.Fatalf("inject: %v", err)
	}
}

// udp6in4 is a datagram to port 4242 of the front's tunnel address, in IPv6,
// in IPv4. The kernel fills in the IPv4 checksum.
func udp6in4(outer, inner netip.Addr, payload string) []byte {
	udp := binary.BigEndian.AppendUint16(nil, 4242)
	udp = binary.BigEndian.AppendUint16(udp, 4242)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	ip6 := []byte{0x60, 0, 0, 0, 0, byte(len(udp)), unix.IPPROTO_UDP, 64}
	ip6 = append(append(ip6, inner.AsSlice()...), lab.Front6.AsSlice()...)
	binary.BigEndian.PutUint16(udp[6:], checksum6(ip6, udp))
	ip4 := []byte{0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, unix.IPPROTO_IPV6, 0, 0}
	ip4 = append(append(ip4, outer.AsSlice()...), lab.FrontV4.AsSlice()...)
	return append(append(ip4, ip6...), udp...)
}

// checksum6 is the UDP checksum over the pseudo-header (RFC 8200 §8.1).
func checksum6(ip6, udp []byte) uint16 {
	sum := uint32(len(udp)) + unix.IPPROTO_UDP
	for _, b := range [][]byte{ip6[8:40], udp, make([]byte, len(udp)%2)} {
		for i := 0; i < len(b); i++ {
			if i%2 == 0 {
				sum += uint32(b[i]) << 8
			} else {
				sum += uint32(b[i])
			}
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// What a reload cannot do to the tunnel is said with what to do, and nothing changes.
func TestReloadOfTheTunnel(t *testing.T) {
	w := mustWorld(t)
	w.front(t, tunnelConfig+siteOnly)
	address := w.tunnelStatus(t).Address
	for _, row := range []struct{ config, want string }{
		{"[forward.a]\nlisten = \"203.0.113.5:81\"\nto = \"10.0.0.10:80\"\n", "[tunnel] is gone, and a reload takes no tunnel down; systemctl restart genkan\n"},
		{tunnelConfig + "interface = \"other\"\n" + siteOnly, "[tunnel] interface \"tun6rd\" cannot become \"other\" in a reload; systemctl restart genkan\n"},
		{tunnelConfig + "datapath = \"kernel\"\n" + siteOnly, "this kernel has no sit device"},
		{tunnelConfig + "expose = \"all\"\nttl = 32\n" + siteOnly, "~ [tunnel]\n"},
	} {
		if row.want == "this kernel has no sit device" && exists("/sys/module/sit") {
			continue
		}
		mustWrite(t, w.ConfigFile(w.Front), row.config)
		if got := w.ask(t, "reload"); !strings.Contains(got, row.want) {
			t.Errorf("got %s, want %s", got, row.want)
		}
		if s := w.tunnelStatus(t); s.Address != address || s.Interface != "tun6rd" {
			t.Errorf("status %+v", s)
		}
		if err := reach(w.Client6, "["+lab.Front6.String()+"]:80", patience); err != nil {
			t.Errorf("after %q: %v", row.want, err)
		}
	}
	if s := w.tunnelStatus(t); s.Expose != "all" {
		t.Errorf("status %+v", s)
	}
}
