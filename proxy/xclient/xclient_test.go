package xclient

import (
	"bufio"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience bounds the waits of the tests.
const patience = 20 * time.Second

func TestAnnounce(t *testing.T) {
	const greeting, offer = "220 mx ESMTP\r\n", "250-mx\r\n250-PIPELINING\r\n250-XCLIENT NAME ADDR PROTO HELO PORT\r\n250 STARTTLS\r\n"
	for _, row := range []struct {
		name   string
		client string
		says   []string // the server: its greeting, then an answer a line
		heard  string
		gives  string
		err    string
	}{
		{"ipv6", "[2001:db8::1]:4000", []string{greeting, offer, greeting}, "EHLO genkan|XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=4000", greeting, ""},
		{"ipv4", "192.0.2.1:4000", []string{greeting, offer, greeting}, "EHLO genkan|XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4000", greeting, ""},
		{"mapped", "[::ffff:192.0.2.1]:4000", []string{greeting, offer, greeting}, "EHLO genkan|XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4000", greeting, ""},
		{"old", "192.0.2.1:4000", []string{greeting, "250 XCLIENT ADDR\r\n", greeting}, "EHLO genkan|XCLIENT ADDR=192.0.2.1", greeting, ""},
		{"two-greetings", "192.0.2.1:4000", []string{"220-one\r\n220 two\r\n", offer, "220-one\r\n220 two\r\n"}, "EHLO genkan|XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4000", "220-one\r\n220 two\r\n", ""},
		{"busy", "192.0.2.1:4000", []string{"421 busy\r\n"}, "", "421 busy\r\n", ""},
		{"no-xclient", "192.0.2.1:4000", []string{greeting, "250-mx\r\n250 STARTTLS\r\n"}, "EHLO genkan", "", "the server offers no XCLIENT; write our address into its smtpd_authorized_xclient_hosts"},
		{"not-as-a-word", "192.0.2.1:4000", []string{greeting, "250 XCLIENTS ADDR\r\n"}, "EHLO genkan", "", "the server offers no XCLIENT; write our address into its smtpd_authorized_xclient_hosts"},
		{"refused", "192.0.2.1:4000", []string{greeting, offer, "501 Bad ADDR\r\n"}, "EHLO genkan|XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4000", "", `the server refuses XCLIENT: "501 Bad ADDR\r\n"; one for IPv6 clients needs inet_protocols = all`},
		{"too-much", "192.0.2.1:4000", []string{greeting, offer, greeting + "250 more\r\n"}, "EHLO genkan|XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=4000", "", "the server says more than its greeting"},
		{"endless", "192.0.2.1:4000", []string{strings.Repeat("220-x\r\n", 200)}, "", "", "the server's reply: more than 100 lines"},
		{"long", "192.0.2.1:4000", []string{strings.Repeat("x", 2000)}, "", "", "the server's reply: bufio: buffer full"},
		{"gone", "192.0.2.1:4000", nil, "", "", "the server's reply: EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			heard := make(chan []string, 1)
			go func() { heard <- play(theirs, row.says) }()
			got, err := Announce(t.Context(), ours, netip.MustParseAddrPort(row.client))
			ours.Close()
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != row.err || err == nil && string(got) != row.gives {
				t.Errorf("%q, %q; want %q, %q", got, text, row.gives, row.err)
			}
			if lines := strings.Join(<-heard, "|"); lines != row.heard {
				t.Errorf("heard %q, want %q", lines, row.heard)
			}
		})
	}
}

// play is a server that says what it is to say, each after a line of ours. It
// gives the lines that it heard.
func play(conn net.Conn, says []string) (heard []string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewScanner(conn)
	for i, text := range says {
		if i > 0 {
			if !lines.Scan() {
				return heard
			}
			heard = append(heard, lines.Text())
		}
		if _, err := conn.Write([]byte(text)); err != nil {
			return heard
		}
	}
	for len(says) > 0 && lines.Scan() { // until we close
		heard = append(heard, lines.Text())
	}
	return heard
}

func FuzzAttributes(f *testing.F) {
	f.Add("250-mx\r\n250 XCLIENT ADDR NAME\r\n")
	f.Fuzz(func(t *testing.T, offer string) {
		got := attributes([]byte(offer))
		line := command(netip.MustParseAddrPort("[2001:db8::1]:1"), got)
		if strings.Count(line, "\n") != 1 || slices.Contains(got, "ADDR") != strings.Contains(line, " ADDR=IPV6:2001:db8::1") {
			t.Errorf("%q gives %q", offer, line)
		}
	})
}
