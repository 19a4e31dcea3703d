package guest

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/tunnel"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A receiver is a configuration of tunnel-packets.tsv: the tunnel, and the
// prefix length that its own IPv4 address has on the wire.
type receiver struct {
	cfg  tunnel.Config
	bits int
}

var receivers = map[string]receiver{
	"A": {tunnel.Config{
		Prefix: netip.MustParsePrefix("2001:db8::/32"),
		Local:  netip.MustParseAddr("192.0.2.10"),
		Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")},
	}, 24},
	"B": {tunnel.Config{
		Prefix:      netip.MustParsePrefix("2001:db8::/32"),
		IPv4MaskLen: 8,
		Local:       netip.MustParseAddr("10.100.100.1"),
		Relays:      []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}, 24},
	"C": {tunnel.Config{
		Kind:    tunnel.Kind6in4,
		Local:   netip.MustParseAddr("192.0.2.10"),
		Remote:  netip.MustParseAddr("198.51.100.1"),
		Address: netip.MustParsePrefix("2001:db8:100::2/64"),
	}, 24},
}

// good are packets that each receiver delivers, by what they look like: when
// one has arrived, what was sent before it would have, too.
var good = map[string]map[string]string{
	"A": {"udp": "tun-002", "icmp": "tun-003", "tcp": "tun-004"},
	"B": {"udp": "tun-136"},
	"C": {"udp": "tun-146"},
}

// kinds are the rows that are no datagrams.
var kinds = map[string]string{"tun-003": "icmp", "tun-004": "tcp", "tun-017": "tcp"}

// noDatagram are rows that no socket of ours can show: they have to survive
// the stack, not to arrive.
var noDatagram = map[string]string{
	"tun-075": "no next header: nothing to receive",
	"tun-094": "a routing header of type 0 may be dropped, too",
}

type vector struct {
	id, config, verdict, reason, strength string
	packets                               [][]byte
}

func vectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("/testdata/tunnel-packets.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []vector
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) < 6 || f[0] == "id" {
			continue
		}
		v := vector{id: f[0], config: f[1], verdict: f[3], reason: f[4], strength: f[5]}
		for _, h := range strings.Split(f[2], ",") {
			p, err := hex.DecodeString(h)
			if err != nil {
				t.Fatalf("%s: %v", v.id, err)
			}
			v.packets = append(v.packets, p)
		}
		rows = append(rows, v)
	}
	if len(rows) < 40 {
		t.Fatalf("only %d rows", len(rows))
	}
	return rows
}

// Every datapath gives the verdict of every must row.
func TestVectors(t *testing.T) {
	rows := vectors(t)
	for _, dp := range datapaths(t) {
		for _, name := range []string{"A", "B", "C"} {
			t.Run(dp+"-"+name, func(t *testing.T) { checkVectors(t, dp, name, rows) })
		}
	}
}

func checkVectors(t *testing.T, dp, name string, rows []vector) {
	r := receivers[name]
	l := mustLab(t)
	// The relay of B has the address that the front has towards the backend.
	if err := l.Front.DelLink("eth1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Front.AddAddr("eth0", netip.PrefixFrom(r.cfg.Local, r.bits)); err != nil {
		t.Fatal(err)
	}
	cfg := r.cfg
	cfg.Datapath, cfg.Expose = dp, tunnel.ExposeAll
	mustUp(t, l.Front, cfg)
	s := mustSockets(t, l.Front)
	wire := mustWire(t, l)
	byID := map[string]vector{}
	for _, row := range rows {
		byID[row.id] = row
	}
	for _, row := range rows {
		if row.config != name || row.strength != "must" || noDatagram[row.id] != "" {
			continue
		}
		kind := "udp"
		if k, ok := kinds[row.id]; ok {
			kind = k
		}
		before := s.all(row.id, kind)
		for _, p := range row.packets {
			wire(p)
		}
		if row.verdict == "deliver" {
			if !s.await(row.id, kind, before, nil) {
				t.Errorf("%s: not delivered: %s", row.id, row.reason)
			}
			continue
		}
		barrier := byID[good[name][kind]]
		sent := 0
		arrived := s.await(barrier.id, kind, s.all(barrier.id, kind), func() { wire(barrier.packets[0]); sent++ })
		if !arrived {
			t.Fatalf("%s: the tunnel delivers nothing any more after this row (%s)", row.id, row.reason)
		}
		got := s.all(row.id, kind) - before
		if kind != "udp" { // the barrier looks the same
			got -= sent
		}
		if got > 0 {
			t.Errorf("%s: delivered, want drop: %s", row.id, row.reason)
		}
	}
}

// sockets tell what reaches the front's programs: datagrams to port 4242 by
// the id that their text begins with, echo requests and TCP segments by kind.
type sockets struct {
	mu   sync.Mutex // guards seen
	seen map[string]int
}

func mustSockets(t *testing.T, n *lab.Namespace) *sockets {
	t.Helper()
	s := &sockets{seen: map[string]int{}}
	var conns [3]net.PacketConn
	err := n.Do(func() (err error) {
		var lc net.ListenConfig
		for i, where := range [][2]string{{"udp6", "[::]:4242"}, {"ip6:ipv6-icmp", "::"}, {"ip6:tcp", "::"}} {
			if conns[i], err = lc.ListenPacket(context.Background(), where[0], where[1]); err != nil {
				return fmt.Errorf("%s: %w", where[0], err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for i, kind := range []string{"", "icmp", "tcp"} {
		readers.Go(func() {
			buf := make([]byte, 2048)
			for {
				n, _, err := conns[i].ReadFrom(buf)
				if err != nil {
					return
				}
				what := kind
				if kind == "" {
					what = string(buf[:min(n, len("tun-000"))])
				}
				if kind == "icmp" && buf[0] != 128 { // echo request
					continue
				}
				s.mu.Lock()
				s.seen[what]++
				s.mu.Unlock()
			}
		})
	}
	t.Cleanup(func() {
		for _, c := range conns {
			c.Close()
		}
		readers.Wait()
	})
	return s
}

// all is how often the row, or for other rows than datagrams its kind, was seen.
func (s *sockets) all(id, kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind != "udp" {
		return s.seen[kind]
	}
	return s.seen[id]
}

// await calls send, if there is one, again and again until the row is seen
// more often than before.
func (s *sockets) await(id, kind string, before int, send func()) bool {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if send != nil {
			send()
		}
		for range 100 {
			if s.all(id, kind) > before {
				return true
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	return false
}

// mustWire gives a function that puts an IPv4 packet, whatever its addresses,
// on the cable to the front as the ISP's router would.
func mustWire(t *testing.T, l *lab.Lab) func([]byte) {
	t.Helper()
	var fd, index int
	var to net.HardwareAddr
	err := l.Front.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			to = link.Attrs().HardwareAddr
		}
		return err
	})
	if err == nil {
		err = l.ISP.Do(func() error {
			link, err := netlink.LinkByName("front0")
			if err != nil {
				return err
			}
			index = link.Attrs().Index
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	dst := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: index, Halen: 6} // 0x0800 in network order
	copy(dst.Addr[:], to)
	return func(packet []byte) {
		if err := unix.Sendto(fd, packet, 0, dst); err != nil {
			t.Errorf("send %d bytes: %v", len(packet), err)
		}
	}
}
