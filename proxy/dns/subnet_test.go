package dns

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/iotest"

	miekg "github.com/miekg/dns"
)

var (
	client6 = netip.MustParseAddr("2001:db8:1:2345:6::7")
	client4 = netip.MustParseAddr("192.0.2.77")
)

// withSubnet is a query in which the client tells of a network itself.
func withSubnet(t testing.TB, bits uint8, cookie bool) []byte {
	t.Helper()
	m := new(miekg.Msg).SetQuestion("www.example.test.", miekg.TypeTXT)
	m.SetEdns0(1232, true)
	if cookie {
		m.IsEdns0().Option = append(m.IsEdns0().Option, &miekg.EDNS0_COOKIE{Code: miekg.EDNS0COOKIE, Cookie: "0102030405060708"})
	}
	m.IsEdns0().Option = append(m.IsEdns0().Option, &miekg.EDNS0_SUBNET{Code: miekg.EDNS0SUBNET, Family: 1, SourceNetmask: bits, Address: net.IPv4(198, 51, 100, 0)})
	return sign(t, m, "")
}

// subnets says which networks a message tells, and its other options.
func subnets(t testing.TB, raw []byte) (found []string, others int) {
	t.Helper()
	m := new(miekg.Msg)
	if err := m.Unpack(raw); err != nil {
		t.Fatalf("no DNS any more: %v", err)
	}
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if s, ok := o.(*miekg.EDNS0_SUBNET); ok {
				found = append(found, fmt.Sprintf("%s/%d/%d", s.Address, s.SourceNetmask, s.SourceScope))
			} else {
				others++
			}
		}
	}
	return found, others
}

func TestAddSubnet(t *testing.T) {
	for _, row := range []struct {
		name   string
		query  []byte
		client netip.Addr
		want   string
		others int
	}{
		{"ipv6", question{edns: 4096}.pack(t), client6, "[2001:db8:1:2300::/56/0]", 0},
		{"ipv4", question{edns: 4096}.pack(t), client4, "[192.0.2.0/24/0]", 0},
		{"beside-a-cookie", question{edns: 4096, cookie: "0102030405060708"}.pack(t), client6, "[2001:db8:1:2300::/56/0]", 1},
		{"in-place-of-a-claim", withSubnet(t, 24, true), client6, "[2001:db8:1:2300::/56/0]", 1},
		{"not-to-be-told", withSubnet(t, 0, false), client6, "[0.0.0.0/0/0]", 0},
		{"no-edns", question{}.pack(t), client6, "[]", 0},
		{"tsig", question{edns: 4096, signed: "tsig"}.pack(t), client6, "[]", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := bytes.Clone(row.query)
			got := AddSubnet(row.query, row.client)
			if found, others := subnets(t, got); fmt.Sprint(found) != row.want || others != row.others {
				t.Errorf("%s and %d others, want %s and %d", found, others, row.want, row.others)
			}
			if !bytes.Equal(row.query, before) {
				t.Error("the query was changed")
			}
		})
	}
}

func TestStripSubnet(t *testing.T) {
	for _, row := range []struct {
		name, signed string
		query        []byte
		want         string
		others       int
	}{
		{"alone", "", withSubnet(t, 24, false), "[]", 0},
		{"beside-a-cookie", "", withSubnet(t, 24, true), "[]", 1},
		{"none", "", question{edns: 1232, cookie: "0102030405060708"}.pack(t), "[]", 1},
		{"no-edns", "", question{}.pack(t), "[]", 0},
		{"tsig", "tsig", withSubnet(t, 24, false), "[198.51.100.0/24/0]", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := response(t, row.query, 400, row.signed)
			was := new(miekg.Msg)
			if err := was.Unpack(raw); err != nil {
				t.Fatal(err)
			}
			got := StripSubnet(raw)
			if found, others := subnets(t, got); fmt.Sprint(found) != row.want || others != row.others {
				t.Errorf("%s and %d others, want %s and %d", found, others, row.want, row.others)
			}
			m := new(miekg.Msg)
			if err := m.Unpack(got); err != nil || fmt.Sprint(m.Answer) != fmt.Sprint(was.Answer) {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
}

// Over TCP every query has the network, and no answer, however the bytes come.
func TestSubnetConn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	framed := func(msg []byte) []byte { return append([]byte{byte(len(msg) >> 8), byte(len(msg))}, msg...) }
	query := question{edns: 1232}.pack(t)
	answer := response(t, withSubnet(t, 24, true), 600, "")

	conn := NewSubnetConn(far.(*net.TCPConn), client6)
	go func() {
		client.Write(append(framed(query), framed(query)...))
		client.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(iotest.OneByteReader(conn))
	want := framed(AddSubnet(query, client6))
	if err != nil || !bytes.Equal(got, append(bytes.Clone(want), want...)) {
		t.Errorf("queries: %x, %v", got, err)
	}
	for _, b := range append(framed(bytes.Clone(answer)), framed(bytes.Clone(answer))...) {
		if _, err := conn.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	conn.CloseWrite()
	got, err = io.ReadAll(client)
	want = framed(StripSubnet(bytes.Clone(answer)))
	if err != nil || !bytes.Equal(got, append(bytes.Clone(want), want...)) {
		t.Errorf("answers: %x, %v", got, err)
	}
}

// FuzzSubnet: where miekg/dns reads a query, it reads one with the client's
// network afterwards, and StripSubnet takes that out of its like.
func FuzzSubnet(f *testing.F) {
	f.Add(question{edns: 4096}.pack(f))
	f.Add(withSubnet(f, 24, true))
	f.Add(withSubnet(f, 0, false))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		got := AddSubnet(raw, client6)
		if !bytes.Equal(raw, before) {
			t.Fatal("the query was changed")
		}
		was, m := new(miekg.Msg), new(miekg.Msg)
		if bytes.Equal(got, raw) || was.Unpack(before) != nil {
			return
		}
		if err := m.Unpack(got); err != nil {
			t.Fatalf("no DNS any more: %v: %x of %x", err, got, before)
		}
		if found, _ := subnets(t, got); fmt.Sprint(found) != "[2001:db8:1:2300::/56/0]" {
			t.Fatalf("%s in %v", found, m)
		}
		got[2] |= 0x80 // its like
		if found, _ := subnets(t, StripSubnet(got)); len(found) > 0 {
			t.Fatalf("%s left", found)
		}
	})
}
