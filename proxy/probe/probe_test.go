package probe

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve has one connection of loopback answered by talk.
func serve(t *testing.T, talk func(net.Conn)) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer server.Close()
		server.SetDeadline(time.Now().Add(10 * time.Second))
		talk(server)
	}()
	t.Cleanup(func() {
		client.Close()
		<-done
	})
	return client
}

// What mail servers answer, and what it means. A row's answers are to the
// greeting, EHLO, MAIL and the recipients, in turn.
func TestMail(t *testing.T) {
	for _, row := range []struct {
		name    string
		answers []string
		want    Answer
	}{
		{"relay", []string{"220 x", "250-x\r\n250 SIZE", "250 ok", "250 2.1.5 Ok"}, Answer{Trusts, "250 2.1.5 Ok"}},
		{"relay-for-a-literal-only", []string{"220 x", "250 x", "250 ok", "556 5.1.10 null MX", "250 2.1.5 Ok"}, Answer{Trusts, "250 2.1.5 Ok"}},
		{"refuses", []string{"220 x", "250 x", "250 ok", "554 5.7.1 Relay access denied", "554 5.7.1 Relay access denied"}, Answer{Refuses, "554 5.7.1 Relay access denied"}},
		{"refuses-for-now", []string{"220 x", "250 x", "250 ok", "550 no", "450 4.2.0 Greylisted"}, Answer{Unclear, "refused for now: 450 4.2.0 Greylisted"}},
		{"refuses-like-Sendmail", []string{"220 x", "250 x", "250 ok", "450 4.4.0 Relaying temporarily denied.", "450 4.4.0 Relaying temporarily denied."}, Answer{Refuses, "450 4.4.0 Relaying temporarily denied."}},
		{"wants-a-password", []string{"220 x", "250 x", "530 5.7.0 Authentication required"}, Answer{Refuses, "530 5.7.0 Authentication required"}},
		{"wants-TLS-and-has-none", []string{"220 x", "250 x", "530 5.7.0 Must issue a STARTTLS command first", "454 TLS not available"}, Answer{Unclear, "refused before a recipient was named: 454 TLS not available"}},
		{"refuses-us", []string{"220 x", "550 go away"}, Answer{Unclear, "refused before a recipient was named: 550 go away"}},
		{"busy", []string{"421 too many connections"}, Answer{Unclear, "refused for now: 421 too many connections"}},
		{"closed", []string{"554 no service"}, Answer{Refuses, "554 no service"}},
		{"something-else", []string{"SSH-2.0-OpenSSH_9.2"}, Answer{Unclear, `no SMTP: "SSH-2.0-OpenSSH_9.2"`}},
		{"gone", nil, Answer{Unclear, "no answer: EOF"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var said []string
			ended := make(chan struct{})
			conn := serve(t, func(c net.Conn) {
				defer close(ended)
				r := bufio.NewReader(c)
				for i := 0; ; i++ {
					if i > 0 {
						line, err := r.ReadString('\n')
						if err != nil {
							return
						}
						said = append(said, strings.TrimSpace(line))
					}
					switch {
					case i < len(row.answers):
						fmt.Fprint(c, row.answers[i]+"\r\n")
					case len(row.answers) == 0:
						return
					default:
						fmt.Fprint(c, "250 ok\r\n")
					}
				}
			})
			if got := Mail(context.Background(), conn, nil); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
			conn.Close()
			<-ended
			for _, line := range said {
				if strings.HasPrefix(line, "DATA") || strings.HasPrefix(line, "BDAT") {
					t.Errorf("it said %q", line)
				}
			}
			if n := len(said); n > 3 && (said[n-2] != "RSET" || said[n-1] != "QUIT") {
				t.Errorf("it left by %q", said)
			}
		})
	}
}

// What name servers answer, and what it means, over TCP and UDP.
func TestNames(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer dns.MsgHdr
		want   Answer
	}{
		{"resolver", dns.MsgHdr{Response: true, RecursionAvailable: true, Rcode: dns.RcodeNameError}, Answer{Trusts, "recursion available, NXDOMAIN"}},
		{"resolver-that-fails", dns.MsgHdr{Response: true, RecursionAvailable: true, Rcode: dns.RcodeServerFailure}, Answer{Trusts, "recursion available, SERVFAIL"}},
		{"refuses", dns.MsgHdr{Response: true, Rcode: dns.RcodeRefused}, Answer{Refuses, "REFUSED"}},
		{"refuses-though-it-could", dns.MsgHdr{Response: true, RecursionAvailable: true, Rcode: dns.RcodeRefused}, Answer{Refuses, "REFUSED"}},
		{"referral", dns.MsgHdr{Response: true}, Answer{Refuses, "NOERROR"}},
		{"echo", dns.MsgHdr{}, Answer{Unclear, "an answer to something else"}},
	} {
		answer := func(q *dns.Msg) *dns.Msg {
			h := row.answer
			h.Id = q.Id
			return &dns.Msg{MsgHdr: h, Question: q.Question}
		}
		t.Run(row.name+"-tcp", func(t *testing.T) {
			conn := serve(t, func(c net.Conn) {
				d := &dns.Conn{Conn: c}
				if q, err := d.ReadMsg(); err == nil {
					d.WriteMsg(answer(q))
				}
			})
			if got := Names(context.Background(), conn, nil); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
		t.Run(row.name+"-udp-with-a-header", func(t *testing.T) {
			server, err := net.ListenPacket("udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			conn, err := net.Dial("udp4", server.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				buf := make([]byte, 512)
				n, from, err := server.ReadFrom(buf)
				q := new(dns.Msg)
				if err == nil && strings.HasPrefix(string(buf[:n]), "HEAD") && q.Unpack(buf[4:n]) == nil {
					raw, _ := answer(q).Pack()
					server.WriteTo(raw, from)
				}
			}()
			if got := Names(context.Background(), conn, []byte("HEAD")); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
			<-done
		})
	}
}
