package dns

import (
	"bytes"
	"fmt"
	"net"
	"testing"

	miekg "github.com/miekg/dns"
)

// A question is what a row asks with.
type question struct {
	edns   uint16 // 0: no OPT
	cookie string // an option in it
	signed string // "tsig", "sig0" or ""
}

func (q question) pack(t testing.TB) []byte {
	t.Helper()
	m := new(miekg.Msg)
	m.SetQuestion("www.example.test.", miekg.TypeTXT)
	if q.edns > 0 {
		m.SetEdns0(q.edns, true)
		if q.cookie != "" {
			m.IsEdns0().Option = []miekg.EDNS0{&miekg.EDNS0_COOKIE{Code: miekg.EDNS0COOKIE, Cookie: q.cookie}}
		}
	}
	return sign(t, m, q.signed)
}

func sign(t testing.TB, m *miekg.Msg, how string) []byte {
	t.Helper()
	var raw []byte
	var err error
	switch how {
	case "tsig":
		m.SetTsig("key.", miekg.HmacSHA256, 300, 1<<30)
		raw, _, err = miekg.TsigGenerate(m, "c2VjcmV0", "", false)
	case "sig0": // RFC 2931 §3: the form is what counts here
		m.Extra = append(m.Extra, &miekg.SIG{RRSIG: miekg.RRSIG{
			Hdr: miekg.RR_Header{Name: ".", Rrtype: miekg.TypeSIG, Class: miekg.ClassANY}, SignerName: "key.", Signature: "c2VjcmV0",
		}})
		fallthrough
	default:
		raw, err = m.Pack()
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// response is an answer to query of about size bytes.
func response(t testing.TB, query []byte, size int, signed string) []byte {
	t.Helper()
	q, m := new(miekg.Msg), new(miekg.Msg)
	if err := q.Unpack(query); err != nil {
		t.Fatal(err)
	}
	m.SetReply(q)
	m.Authoritative = true
	for m.Len() < size {
		rr, err := miekg.NewRR(fmt.Sprintf("www.example.test. 60 IN TXT %q", bytes.Repeat([]byte("x"), 200)))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	if opt := q.IsEdns0(); opt != nil {
		m.Extra = append(m.Extra, &miekg.A{Hdr: miekg.RR_Header{Name: "ns.example.test.", Rrtype: miekg.TypeA, Class: miekg.ClassINET}, A: net.IPv4(192, 0, 2, 1)})
		m.SetEdns0(1232, true)
		m.IsEdns0().Option = opt.Option
	}
	m.Compress = true
	return sign(t, m, signed)
}

func TestClamp(t *testing.T) {
	for _, row := range []struct {
		name string
		q    question
		most uint16
		want uint16 // the size in OPT after it
		lim  int
	}{
		{"no-edns", question{}, 1232, 0, 512},
		{"larger", question{edns: 4096}, 1232, 1232, 1232},
		{"largest", question{edns: 65535}, 1232, 1232, 1232},
		{"equal", question{edns: 1232}, 1232, 1232, 1232},
		{"smaller", question{edns: 1200}, 1232, 1200, 1200},
		{"tiny", question{edns: 100}, 1232, 100, 512},
		{"with-cookie", question{edns: 4096, cookie: "0102030405060708"}, 1232, 1232, 1232},
		{"ipv4", question{edns: 4096}, NoLimit, 4096, 4096},
		{"tsig", question{edns: 4096, signed: "tsig"}, 1232, 4096, NoLimit},
		{"sig0", question{edns: 4096, signed: "sig0"}, 1232, 4096, NoLimit},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := row.q.pack(t)
			before := bytes.Clone(raw)
			if got := Clamp(raw, row.most); got != row.lim {
				t.Errorf("limit %d, want %d", got, row.lim)
			}
			m := new(miekg.Msg)
			if err := m.Unpack(raw); err != nil {
				t.Fatal(err)
			}
			if opt := m.IsEdns0(); opt != nil && opt.UDPSize() != row.want || opt == nil && row.want != 0 {
				t.Errorf("OPT %v, want size %d", opt, row.want)
			}
			if changed := differing(before, raw); changed > 2 || row.want == row.q.edns && changed > 0 {
				t.Errorf("%d bytes changed", changed)
			}
		})
	}
}

func differing(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestFit(t *testing.T) {
	for _, row := range []struct {
		name   string
		q      question
		size   int
		signed string
		limit  int
		cut    bool
		opt    bool // there is one in the cut answer
	}{
		{"fits", question{edns: 1232}, 900, "", 1232, false, true},
		{"too-large", question{edns: 1232}, 1355, "", 1232, true, true},
		{"too-large-cookie", question{edns: 1232, cookie: "0102030405060708"}, 3147, "", 1232, true, true},
		{"sixty-thousand", question{edns: 1232}, 60000, "", 1232, true, true},
		{"no-edns", question{}, 600, "", 512, true, false},
		{"no-edns-fits", question{}, 300, "", 512, false, false},
		{"limit-below-512", question{}, 300, "", 100, false, false},
		{"no-limit", question{}, 9000, "", NoLimit, false, false},
		{"tsig", question{edns: 1232}, 3147, "tsig", 1232, false, true},
		{"sig0", question{edns: 1232}, 3147, "sig0", 1232, false, true},
		{"options-too-long", question{edns: 1232, cookie: fmt.Sprintf("%01000d", 0)}, 3147, "", 512, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			query := row.q.pack(t)
			raw := response(t, query, row.size, row.signed)
			whole := bytes.Clone(raw)
			got := Fit(raw, row.limit)
			if !row.cut {
				if !bytes.Equal(got, whole) {
					t.Error("changed")
				}
				return
			}
			was, m := new(miekg.Msg), new(miekg.Msg)
			if err := was.Unpack(whole); err != nil {
				t.Fatal(err)
			}
			if err := m.Unpack(got); err != nil {
				t.Fatal(err)
			}
			if len(got) > row.limit || !m.Truncated || m.Id != was.Id || m.Rcode != was.Rcode || !m.Authoritative || len(m.Answer) > 0 ||
				len(m.Question) != 1 || m.Question[0] != was.Question[0] {
				t.Errorf("%d bytes: %v", len(got), m)
			}
			if opt := m.IsEdns0(); (opt != nil) != row.opt || row.opt && (opt.UDPSize() != 1232 || !opt.Do()) {
				t.Errorf("OPT %v, want one: %v", opt, row.opt)
			}
			if row.q.cookie != "" && len(row.q.cookie) < 100 && fmt.Sprint(m.IsEdns0().Option) != fmt.Sprint(was.IsEdns0().Option) {
				t.Errorf("options %v", m.IsEdns0().Option)
			}
		})
	}
}

// Neither a query nor an answer that is no DNS is touched.
func TestStrangeBytes(t *testing.T) {
	query := question{edns: 4096}.pack(t)
	answer := response(t, query, 2000, "")
	twice := append(bytes.Clone(query), query[len(query)-11:]...)
	twice[11]++
	for name, raw := range map[string][]byte{
		"empty": nil, "short": query[:11], "cut-question": query[:20], "cut-opt": query[:len(query)-1],
		"two-opts": twice, "answer": answer, "bad-label": append(bytes.Clone(query[:12]), 0x40, 0, 0, 0, 0, 0, 0),
	} {
		before := bytes.Clone(raw)
		if got := Clamp(raw, PathLimit); got != NoLimit || !bytes.Equal(raw, before) {
			t.Errorf("Clamp(%s) = %d, changed: %v", name, got, !bytes.Equal(raw, before))
		}
	}
	for name, raw := range map[string][]byte{
		"zeros": make([]byte, 2000), "ones": bytes.Repeat([]byte{0xff}, 2000), "letters": bytes.Repeat([]byte("a"), 2000),
	} {
		before := bytes.Clone(raw)
		if got := Fit(raw, PathLimit); !bytes.Equal(got, before) {
			t.Errorf("Fit(%s) changed it", name)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	query := question{edns: 4096}.pack(t)
	answer := response(t, query, 3147, "")
	buf := make([]byte, len(answer))
	if n := testing.AllocsPerRun(100, func() {
		Clamp(query, PathLimit)
		copy(buf, answer)
		Fit(buf, PathLimit)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzClamp: where miekg/dns reads a query, both agree on the size, and
// nothing else has changed.
func FuzzClamp(f *testing.F) {
	for _, q := range []question{{}, {edns: 4096}, {edns: 4096, signed: "tsig"}, {edns: 4096, signed: "sig0"}, {edns: 9, cookie: "01"}} {
		f.Add(q.pack(f))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		limit := Clamp(raw, PathLimit)
		if n := differing(before, raw); n > 2 {
			t.Fatalf("%d bytes changed", n)
		}
		was, m := new(miekg.Msg), new(miekg.Msg)
		if was.Unpack(before) != nil {
			return
		}
		if err := m.Unpack(raw); err != nil {
			t.Fatalf("no DNS any more: %v", err)
		}
		if opt := was.IsEdns0(); limit != NoLimit && opt != nil && int(max(512, min(PathLimit, opt.UDPSize()))) != limit {
			t.Fatalf("limit %d of %v", limit, opt)
		}
	})
}

// FuzzFit: what is cut is an answer of the same ID with TC=1, and short.
func FuzzFit(f *testing.F) {
	for _, size := range []int{100, 1355, 3147} {
		query := question{edns: 4096, cookie: "0102030405060708"}.pack(f)
		f.Add(response(f, query, size, ""), 600)
		f.Add(response(f, query, size, "tsig"), 600)
	}
	f.Fuzz(func(t *testing.T, raw []byte, limit int) {
		before := bytes.Clone(raw)
		got := Fit(raw, limit)
		if bytes.Equal(got, before) {
			return
		}
		if len(got) > max(limit, 512) || got[2]&0x02 == 0 || !bytes.Equal(got[:2], before[:2]) {
			t.Fatalf("%x of %x", got, before)
		}
		was, m := new(miekg.Msg), new(miekg.Msg)
		if was.Unpack(before) != nil {
			return
		}
		if err := m.Unpack(got); err != nil || len(m.Answer)+len(m.Ns) > 0 || fmt.Sprint(m.Question) != fmt.Sprint(was.Question) {
			t.Fatalf("%v, %v of %v", m, err, was)
		}
	})
}
