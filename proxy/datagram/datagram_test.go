package datagram

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func listen(t *testing.T, network, addr string) (*Conn, *net.UDPConn) {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	pc.SetDeadline(time.Now().Add(patience))
	c, err := Listening(pc.(*net.UDPConn))
	if err != nil {
		t.Fatal(err)
	}
	return c, pc.(*net.UDPConn)
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
		c, udp := listen(t, row.network, row.wildcard)
		client := dial(t, net.JoinHostPort(row.asked, fmt.Sprint(udp.LocalAddr().(*net.UDPAddr).Port)))
		for _, size := range []int{0, 1, 1400, 65000} {
			sent := bytes.Repeat([]byte{'x'}, size)
			client.Write(sent)
			err := c.Read(func(b *Batch) {
				local, index := b.Local(0)
				if b.Len() != 1 || b.Peer(0) != client.LocalAddr().(*net.UDPAddr).AddrPort() || local.String() != row.asked || index != 1 {
					t.Errorf("%s: %d datagrams, from %s to %s by %d", row.asked, b.Len(), b.Peer(0), local, index)
				}
				if n, err := c.Write([]Packet{{Payload: b.Payload(0)}}, Route{To: b.Peer(0), From: local, Interface: index}); n != 1 || err != nil {
					t.Errorf("%s: Write: %d, %v", row.asked, n, err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 1<<16)
			n, err := client.Read(got) // connected: takes answers from the address asked only
			if err != nil || !bytes.Equal(got[:n], sent) {
				t.Errorf("%s: %d bytes came back as %d, %v", row.asked, size, n, err)
			}
		}
	}
}

// Trains arrive whole, in order, and are cut where they have to be.
func TestTrains(t *testing.T) {
	in, inUDP := listen(t, "udp4", "127.0.0.1:0")
	out, err := Connected(dial(t, inUDP.LocalAddr().String()))
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
	} {
		if n, err := out.Write([]Packet{row.packet, {Payload: []byte("end")}}, Route{}); n != 2 || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
		count, got, ended := 0, []byte(nil), false
		for !ended {
			err := in.Read(func(b *Batch) {
				for i := range b.Len() {
					if string(b.Payload(i)) == "end" {
						ended = true
						continue
					}
					count += b.Count(i)
					got = append(got, b.Payload(i)...)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if head := row.packet.Head; len(head) > 0 {
			got = bytes.ReplaceAll(got, head, nil)
		}
		if count != row.want || !bytes.Equal(got, payload) {
			t.Errorf("train of %d, head %q: %d datagrams of %d bytes, want %d of %d", row.packet.Segment, row.packet.Head, count, len(got), row.want, len(payload))
		}
	}
}

// More packets than fit into one call.
func TestWriteMany(t *testing.T) {
	in, inUDP := listen(t, "udp6", "[::1]:0")
	out, err := Connected(dial(t, inUDP.LocalAddr().String()))
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
	next := 0
	for next < 50 {
		err := in.Read(func(b *Batch) {
			for i := range b.Len() {
				if want := fmt.Sprint(next); string(b.Payload(i)) != want {
					t.Errorf("got %q, want %q", b.Payload(i), want)
				}
				next++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrors(t *testing.T) {
	c, udp := listen(t, "udp4", "127.0.0.1:0")
	dead := udp.LocalAddr().String()
	ended := make(chan error)
	go func() { ended <- c.Read(func(*Batch) {}) }()
	c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read of a closed socket: %v, want net.ErrClosed", err)
	}
	out, err := Connected(dial(t, dead))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]Packet{{Payload: []byte("x")}}, Route{}); err != nil {
		t.Fatal(err)
	}
	if err := out.Read(func(*Batch) {}); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("Read after a port unreachable: %v, want ECONNREFUSED", err)
	}
}

func TestParseControlIgnoresRubbish(t *testing.T) {
	for _, oob := range [][]byte{nil, {1}, make([]byte, 16), bytes.Repeat([]byte{0xff}, 64)} {
		if got := parseControl(oob); got != (info{}) {
			t.Errorf("parseControl(%x) = %+v", oob, got)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer pc.Close()
	c, err := Listening(pc.(*net.UDPConn))
	if err != nil {
		b.Fatal(err)
	}
	conn, err := net.DialUDP("udp4", nil, pc.LocalAddr().(*net.UDPAddr))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	payload := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		conn.Write(payload)
		if err := c.Read(func(batch *Batch) { _ = netip.AddrPort(batch.Peer(0)) }); err != nil {
			b.Fatal(err)
		}
	}
}
