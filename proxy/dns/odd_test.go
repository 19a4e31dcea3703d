package dns

import (
	"bytes"
	"net"
	"testing"

	miekg "github.com/miekg/dns"
)

// Messages that no resolver sends every day, and how large an answer to each may
// be. None is changed but for the size that it offers.
func TestOddQueries(t *testing.T) {
	for _, row := range []struct {
		name  string
		build func(m *miekg.Msg)
		size  uint16 // in OPT after it
		limit int
		query bool
	}{
		{"cookie-alone", func(m *miekg.Msg) { // RFC 7873 §5.4
			m.Question = nil
			m.SetEdns0(4096, false)
			m.IsEdns0().Option = []miekg.EDNS0{&miekg.EDNS0_COOKIE{Code: miekg.EDNS0COOKIE, Cookie: "0102030405060708"}}
		}, 1232, 1232, true},
		{"several-questions", func(m *miekg.Msg) {
			m.Question = append(m.Question, m.Question[0], miekg.Question{Name: "x.", Qtype: miekg.TypeA, Qclass: miekg.ClassINET})
			m.SetEdns0(4096, true)
		}, 1232, 1232, true},
		{"no-question", func(m *miekg.Msg) { m.Question = nil }, 0, 512, true},
		{"EDNS-1", func(m *miekg.Msg) { m.SetEdns0(4096, true); m.IsEdns0().SetVersion(1) }, 1232, 1232, true},
		{"EDNS-0-bytes", func(m *miekg.Msg) { m.SetEdns0(0, true) }, 0, 512, true},
		{"EDNS-511-bytes", func(m *miekg.Msg) { m.SetEdns0(511, true) }, 511, 512, true},
		{"NOTIFY", func(m *miekg.Msg) { m.SetNotify("example.test."); m.SetEdns0(4096, false) }, 1232, 1232, true},
		{"UPDATE", func(m *miekg.Msg) {
			m.SetUpdate("example.test.")
			rr, _ := miekg.NewRR("www.example.test. 60 IN A 192.0.2.1")
			m.Insert([]miekg.RR{rr})
			m.SetEdns0(4096, false)
		}, 1232, 1232, true},
		{"opcode-15", func(m *miekg.Msg) { m.Opcode = 15; m.SetEdns0(4096, false) }, 1232, 1232, true},
		{"AXFR", func(m *miekg.Msg) { m.SetAxfr("example.test.") }, 0, 512, true},
		{"an-answer", func(m *miekg.Msg) { m.Response = true; m.SetEdns0(4096, false) }, 4096, NoLimit, false},
		{"EDNS-before-another-record", func(m *miekg.Msg) {
			m.SetEdns0(4096, false)
			m.Extra = append(m.Extra, &miekg.A{Hdr: miekg.RR_Header{Name: "x.", Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: net.IPv4(192, 0, 2, 1)})
		}, 1232, 1232, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := new(miekg.Msg).SetQuestion("www.example.test.", miekg.TypeTXT)
			row.build(m)
			raw, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(raw)
			if got := IsAnswer(raw); got == row.query {
				t.Errorf("an answer: %v", got)
			}
			if got := Clamp(raw, PathLimit); got != row.limit {
				t.Errorf("limit %d, want %d", got, row.limit)
			}
			again := new(miekg.Msg)
			if err := again.Unpack(raw); err != nil {
				t.Fatal(err)
			}
			if opt := again.IsEdns0(); opt != nil && opt.UDPSize() != row.size || opt == nil && row.size != 0 {
				t.Errorf("OPT %v, want size %d", opt, row.size)
			}
			if n := differing(before, raw); n > 2 {
				t.Errorf("%d bytes changed", n)
			}
			for cut := range raw { // a truncated one does no harm
				Clamp(bytes.Clone(raw[:cut]), PathLimit)
				Fit(append(bytes.Clone(raw[:cut]), make([]byte, 2000)...), PathLimit)
				AddSubnet(bytes.Clone(raw[:cut]), client6)
				StripSubnet(bytes.Clone(raw[:cut]))
			}
		})
	}
}

// A client's claim of a network goes nowhere, wherever its OPT record stands.
func TestSubnetBeforeAnotherRecord(t *testing.T) {
	m := new(miekg.Msg)
	if err := m.Unpack(withSubnet(t, 24, true)); err != nil {
		t.Fatal(err)
	}
	m.Extra = append(m.Extra,
		&miekg.A{Hdr: miekg.RR_Header{Name: "behind.example.", Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: net.IPv4(192, 0, 2, 1)},
		&miekg.A{Hdr: miekg.RR_Header{Name: "behind.example.", Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: net.IPv4(192, 0, 2, 2)})
	m.Compress = true // the second name points at the first
	query, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(query)
	answer := bytes.Clone(query)
	answer[2] |= 0x80
	for name, raw := range map[string][]byte{"query": AddSubnet(query, client6), "answer": StripSubnet(answer)} {
		if found, others := subnets(t, raw); len(found) > 0 || others != 2 { // the cookie, and padding
			t.Errorf("%s: %s and %d others", name, found, others)
		}
		got := new(miekg.Msg)
		if err := got.Unpack(raw); err != nil || got.Extra[2].String() != m.Extra[2].String() {
			t.Errorf("%s: %v, %v", name, err, got)
		}
		if bytes.Contains(raw, []byte{198, 51, 100}) {
			t.Errorf("%s: the network is in %x", name, raw)
		}
	}
	if !bytes.Equal(query, before) {
		t.Error("the query was changed")
	}
}
