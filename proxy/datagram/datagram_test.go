package datagram

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// A record notes what its socket's loop tells.
type record struct {
	datagrams func(*Batch)
	failed    chan error
	closed    chan bool
}

func newRecord(datagrams func(*Batch)) *record {
	return &record{datagrams, make(chan error, 100), make(chan bool, 1)}
}

func (r *record) Datagrams(b *Batch) { r.datagrams(b) }
func (r *record) Failed(err error)   { r.failed <- err }
func (r *record) Closed()            { r.closed <- true }

func wait[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("waited in vain for " + what)
		panic("unreachable")
	}
}

func start(t testing.TB) *Loops {
	t.Helper()
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	loops, err := NewLoops(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		loops.Close()
		if after, _ := os.ReadDir("/proc/self/fd"); len(after) > len(before)+3 { // the runtime's own
			t.Errorf("%d descriptors before, %d after", len(before), len(after))
		}
	})
	return loops
}

func listen(t testing.TB, loops *Loops, network, addr string, h Handler) (*Socket, netip.AddrPort) {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	at := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	s, err := loops.Listen(pc.(*net.UDPConn), h)
	if err != nil {
		t.Fatal(err)
	}
	return s, at
}

func dial(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.UDPConn)
}

// A datagram is known by peer, local address and interface, and the answer
// leaves from the address it was sent to, also on a wildcard socket.
func TestAnswerFromTheAddressAsked(t *testing.T) {
	for _, row := range []struct{ network, wildcard, asked string }{
		{"udp4", "0.0.0.0:0", "127.0.0.77"},
		{"udp6", "[::]:0", "::1"},
	} {
		loops := start(t)
		var s *Socket
		ready, seen := make(chan bool), make(chan string, 100)
		s, at := listen(t, loops, row.network, row.wildcard, newRecord(func(b *Batch) {
			<-ready
			for i := range b.Len() {
				local, index := b.Local(i)
				seen <- fmt.Sprint(b.Peer(i), " ", local, " ", index)
				s.Write([]Packet{{Payload: b.Payload(i)}}, Route{To: b.Peer(i), From: local, Interface: index})
			}
		}))
		close(ready)
		client := dial(t, net.JoinHostPort(row.asked, fmt.Sprint(at.Port())))
		for _, size := range []int{0, 1, 1400, 65000} {
			sent := bytes.Repeat([]byte{'x'}, size)
			client.Write(sent)
			got := make([]byte, 1<<16)
			n, err := client.Read(got) // connected: takes answers from the address asked only
			if err != nil || !bytes.Equal(got[:n], sent) {
				t.Errorf("%s: %d bytes came back as %d, %v", row.asked, size, n, err)
			}
			want := fmt.Sprint(client.LocalAddr(), " ", row.asked, " 1")
			if got := wait(t, "the datagram", seen); got != want {
				t.Errorf("%s: %s, want %s", row.asked, got, want)
			}
		}
	}
}

// Trains arrive whole, in order, and are cut where they have to be.
func TestTrains(t *testing.T) {
	loops := start(t)
	type part struct {
		count   int
		payload []byte
	}
	parts := make(chan part, 1000)
	_, at := listen(t, loops, "udp4", "127.0.0.1:0", newRecord(func(b *Batch) {
		for i := range b.Len() {
			parts <- part{b.Count(i), bytes.Clone(b.Payload(i))}
		}
	}))
	out, err := loops.Connect(at, Source{}, newRecord(nil))
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("0123456789"), 1000)
	for _, row := range []struct {
		packet Packet
		want   int
	}{
		{Packet{Payload: payload, Segment: 1000}, 10},
		{Packet{Payload: payload, Segment: 999}, 11},
		{Packet{Payload: payload}, 1},
		{Packet{Payload: payload, Segment: 20000}, 1},
		{Packet{Payload: payload, Segment: 1000, Head: []byte("head")}, 10},
		{Packet{Payload: payload[:20], Segment: 1}, 20},
	} {
		if n, err := out.Write([]Packet{row.packet, {Payload: []byte("end")}}, Route{}); n != 2 || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
		count, got := 0, []byte(nil)
		for p := wait(t, "datagrams", parts); string(p.payload) != "end"; p = wait(t, "datagrams", parts) {
			count += p.count
			got = append(got, p.payload...)
		}
		if head := row.packet.Head; len(head) > 0 {
			got = bytes.ReplaceAll(got, head, nil)
		}
		if count != row.want || !bytes.Equal(got, row.packet.Payload) {
			t.Errorf("train of %d, head %q: %d datagrams of %d bytes, want %d of %d", row.packet.Segment, row.packet.Head, count, len(got), row.want, len(row.packet.Payload))
		}
	}
}

// More packets than fit into one call.
func TestWriteMany(t *testing.T) {
	loops := start(t)
	got := make(chan string, 100)
	_, at := listen(t, loops, "udp4", "127.0.0.1:0", newRecord(func(b *Batch) {
		for i := range b.Len() {
			got <- string(b.Payload(i))
		}
	}))
	out, err := loops.Connect(at, Source{Addr: netip.MustParseAddr("127.0.0.5")}, newRecord(nil))
	if err != nil {
		t.Fatal(err)
	}
	var packets []Packet
	for i := range 50 {
		packets = append(packets, Packet{Payload: []byte(fmt.Sprint(i))})
	}
	if n, err := out.Write(packets, Route{}); n != 50 || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
	for i := range 50 {
		if text := wait(t, "a datagram", got); text != fmt.Sprint(i) {
			t.Errorf("got %q, want %d", text, i)
		}
	}
}

func TestRefusedAndClosed(t *testing.T) {
	loops := start(t)
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	r := newRecord(nil)
	s, err := loops.Connect(pc.LocalAddr().(*net.UDPAddr).AddrPort(), Source{}, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]Packet{{Payload: []byte("x")}}, Route{}); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, "the error", r.failed); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v, want ECONNREFUSED", err)
	}
	s.Close()
	s.Close()
	wait(t, "the end", r.closed)
	if _, err := s.Write([]Packet{{Payload: []byte("x")}}, Route{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write after Close: %v, want net.ErrClosed", err)
	}
}

// The end of the loops is the end of their sockets, each told once.
func TestLoopsClose(t *testing.T) {
	loops, err := NewLoops(2)
	if err != nil {
		t.Fatal(err)
	}
	var all []*record
	for range 100 {
		r := newRecord(nil)
		all = append(all, r)
		s, err := loops.Connect(netip.MustParseAddrPort("127.0.0.1:9"), Source{}, r)
		if err != nil {
			t.Fatal(err)
		}
		go s.Close()
	}
	loops.Close()
	for _, r := range all {
		wait(t, "the end", r.closed)
	}
	if _, err := loops.Connect(netip.MustParseAddrPort("127.0.0.1:9"), Source{}, newRecord(nil)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Connect after Close: %v, want net.ErrClosed", err)
	}
}

func TestParseControlIgnoresRubbish(t *testing.T) {
	for _, oob := range [][]byte{nil, {1}, make([]byte, 16), bytes.Repeat([]byte{0xff}, 64)} {
		if got := parseControl(oob); got != (info{}) {
			t.Errorf("parseControl(%x) = %+v", oob, got)
		}
	}
}
