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

// good is a packet that each receiver delivers, with the text of its datagram:
// when it is there, what was sent before it would be too.
var good = map[string]string{"A": "tun-002", "B": "tun-136", "C": "tun-146"}

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
	if err := l.Front.AddAddr("eth0", netip.PrefixFrom(r.cfg.Local, r.bits)); err != nil {
		t.Fatal(err)
	}
	cfg := r.cfg
	cfg.Datapath, cfg.Expose = dp, tunnel.ExposeAll
	mustUp(t, l.Front, cfg)
	s := mustSockets(t, l.Front)
	wire := mustWire(t, l)
	var barrier []byte
	for _, row := range rows {
		if row.id == good[name] {
			barrier = row.packets[0]
		}
	}
	for _, row := range rows {
		if row.config != name || row.strength != "must" || noDatagram[row.id] != "" {
			continue
		}
		s.forget()
		for _, p := range row.packets {
			wire(p)
		}
		if !s.await(good[name], func() { wire(barrier) }, row.id == good[name]) {
			t.Fatalf("%s: the tunnel delivers nothing any more after this row (%s)", row.id, row.reason)
		}
		if got := s.saw(row.id); got != (row.verdict == "deliver") {
			t.Errorf("%s: delivered %v, want %s: %s", row.id, got, row.verdict, row.reason)
		}
	}
}

// sockets tell what reaches the front's programs: datagrams to port 4242 by
// their text, echo requests and TCP segments by their kind.
type sockets struct {
	mu   sync.Mutex // guards seen
	seen map[string]int
}

// kinds are the rows that are no datagrams.
var kinds = map[string]string{"tun-003": "icmp", "tun-004": "tcp", "tun-017": "tcp"}

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
					what = string(buf[:n])
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

func (s *sockets) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.seen)
}

func (s *sockets) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[what]
}

func (s *sockets) saw(id string) bool {
	if kind, ok := kinds[id]; ok {
		return s.count(kind) > 0
	}
	return s.count(id) > 0
}

// await sends the good packet until it is seen. When the row itself is the
// good one, its own arrival is what is awaited.
func (s *sockets) await(id string, send func(), itself bool) bool {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if !itself {
			send()
		}
		for range 50 {
			if s.count(id) > 0 {
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
