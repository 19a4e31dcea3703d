package dnsupdate

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustKey(t *testing.T) Key {
	t.Helper()
	k, err := ParseKey("hmac-sha256:genkan:" + secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustRR(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// startServer answers each question by f, signed unless f says otherwise.
func startServer(t *testing.T, f func(w dns.ResponseWriter, q, answer *dns.Msg)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, TsigSecret: map[string]string{"genkan.": secret}, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }}
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if tsig := q.IsTsig(); tsig != nil {
			answer.SetTsig(tsig.Hdr.Name, tsig.Algorithm, fudge, time.Now().Unix())
		}
		f(w, q, answer)
		if err := w.WriteMsg(answer); err != nil {
			t.Error(err)
		}
	})
	started, done := make(chan struct{}), make(chan error, 1)
	s.NotifyStartedFunc = func() { close(started) }
	go func() { done <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String()
}

// An answer that does not come from the holder of the key changes no mind.
func TestUpdateAnswers(t *testing.T) {
	add := Change{Add: []dns.RR{mustRR(t, "www.example.jp. 300 IN AAAA 2001:db8::1")}}
	for _, row := range []struct {
		want string // after the server's address; "" is success
		f    func(w dns.ResponseWriter, q, answer *dns.Msg)
	}{
		{"", func(w dns.ResponseWriter, q, _ *dns.Msg) {
			if w.TsigStatus() != nil || len(q.Ns) != 1 || q.Opcode != dns.OpcodeUpdate || q.Question[0].Name != "example.jp." {
				t.Errorf("status %v, got %v", w.TsigStatus(), q)
			}
		}},
		{"the answer is not signed, and not believed: somebody on the way may have written it",
			func(_ dns.ResponseWriter, _, answer *dns.Msg) { answer.Extra = nil }},
		{"the server refuses (REFUSED); allow it there: update-policy { grant genkan zonesub ANY; };",
			func(_ dns.ResponseWriter, _, answer *dns.Msg) { answer.Rcode = dns.RcodeRefused }},
		{"the server has no such zone as its own (NOTAUTH); name the primary server of the zone",
			func(_ dns.ResponseWriter, _, answer *dns.Msg) { answer.Rcode = dns.RcodeNotAuth }},
		{"the server failed (SERVFAIL); it must be able to write the folder of the zone's file, see its log",
			func(_ dns.ResponseWriter, _, answer *dns.Msg) { answer.Rcode = dns.RcodeServerFailure }},
		{"the server refuses: NOTIMP", func(_ dns.ResponseWriter, _, answer *dns.Msg) { answer.Rcode = dns.RcodeNotImplemented }},
		{"the answer is signed at another time; set the clocks of both hosts",
			func(_ dns.ResponseWriter, _, answer *dns.Msg) {
				answer.IsTsig().TimeSigned -= 2 * fudge
			}},
	} {
		server := startServer(t, row.f)
		err := Client{Server: server, Key: mustKey(t)}.Update(t.Context(), "example.jp", add)
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "dnsupdate: "+server+`: zone "example.jp.": `)
		}
		if got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
}

// What cannot be sent is not sent.
func TestUpdateRefusesToSend(t *testing.T) {
	server := startServer(t, func(_ dns.ResponseWriter, q, _ *dns.Msg) { t.Errorf("was asked: %v", q) })
	add := Change{Add: []dns.RR{mustRR(t, "www.example.com. 300 IN AAAA 2001:db8::1")}}
	for _, row := range []struct {
		c      Client
		change Change
		want   string
	}{
		{Client{Server: server}, add, `zone "example.jp.": no key to sign the update with`},
		{Client{Server: server, Key: mustKey(t)}, add, `zone "example.jp.": "www.example.com." is not in the zone`},
		{Client{Server: server, Key: mustKey(t)}, Change{}, ""},
	} {
		got := ""
		if err := row.c.Update(t.Context(), "example.jp.", row.change); err != nil {
			got = strings.TrimPrefix(err.Error(), "dnsupdate: "+server+": ")
		}
		if got != row.want {
			t.Errorf("got %s, want %s", got, row.want)
		}
	}
	if h := add.Add[0].Header(); h.Ttl != 300 || h.Class != dns.ClassINET {
		t.Errorf("the caller's record was changed: %v", add.Add[0])
	}
}

func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := Client{Server: l.Addr().String(), Key: mustKey(t), Timeout: 20 * time.Millisecond}
	want := "dnsupdate: " + c.Server + `: zone of "www.example.jp.": no answer within 20ms; is this a name server, and does a firewall let TCP port 53 through?`
	if _, err := c.Zone(t.Context(), "www.example.jp"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Zone(ctx, "www.example.jp"); err == nil {
		t.Error("no error though the context has ended")
	}
}
