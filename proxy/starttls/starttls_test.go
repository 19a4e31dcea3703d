package starttls

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// patience bounds the waits of the tests.
const patience = 20 * time.Second

// Each row is what is said in the clear: a client's part begins with "C ", a
// server's with "S ", ours to the client with "> ", ours to the server with "< ".
func TestNegotiatePlain(t *testing.T) {
	for _, row := range []struct{ name, protocol, play, head, err string }{
		{"smtp-goes-on", "smtp", "S 220 mx|> 220 mx|C EHLO c|< EHLO c|S 250 mx|> 250-mx|> 250 STARTTLS|C MAIL FROM:<>", "MAIL FROM:<>\r\n", ""},
		{"smtp-quits", "smtp", "S 220 mx|> 220 mx|C QUIT|< QUIT|S 221 bye|> 221 bye|", "", "the client's command: EOF"},
		{"smtp-busy", "smtp", "S 421 busy|> 421 busy|", "", "the client's command: EOF"},
		{"imap-no-password", "imap", "S * OK hi|> * OK hi|C a LOGIN joe secret|> a NO [PRIVACYREQUIRED] TLS is required; say STARTTLS first|C b LOGOUT|< b LOGOUT|S * BYE|S b OK|> * BYE|> b OK|", "", "the client's command: EOF"},
		{"imap-bad-tag", "imap", "S * OK hi|> * OK hi|C (x STARTTLS|> * NO [PRIVACYREQUIRED] TLS is required; say STARTTLS first|", "", "the client's command: EOF"},
		{"pop3-no-capa", "pop3", "S +OK hi|> +OK hi|C CAPA|< CAPA|S -ERR|> -ERR|C PASS x|> -ERR TLS is required; say STLS first|", "", "the client's command: EOF"},
		{"too-long", "pop3", "S +OK hi|> +OK hi|C " + strings.Repeat("x", 5000) + "|", "", "the client's command: bufio: buffer full"},
		{"smtp-long-AUTH", "smtp", "S 220 mx|> 220 mx|C AUTH XOAUTH2 " + strings.Repeat("x", 12000), "AUTH XOAUTH2 " + strings.Repeat("x", maxLine-13), ""},
		{"server-gone", "smtp", "S 220 mx|> 220 mx|C EHLO c|< EHLO c|S |", "", "the server's answer: EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			client, ourClient := net.Pipe()
			server, ourServer := net.Pipe()
			for _, c := range []net.Conn{client, server} {
				c.SetDeadline(time.Now().Add(patience))
			}
			mistakes := make(chan string, 1)
			go func() { mistakes <- perform(row.play, client, server) }()
			_, head, err := Negotiate(t.Context(), Config{Protocol: row.protocol, Client: ourClient, Server: ourServer})
			ourClient.Close()
			ourServer.Close()
			text := ""
			if err != nil {
				text = err.Error()
			}
			if string(head) != row.head || text != row.err {
				t.Errorf("head %q, error %q; want %q, %q", head, text, row.head, row.err)
			}
			if mistake := <-mistakes; mistake != "" {
				t.Error(mistake)
			}
		})
	}
}

// perform plays both ends, and tells the first line that is not as it should
// be. An empty part at the end closes the client, "S " the server.
func perform(play string, client, server net.Conn) string {
	fromClient, fromServer := bufio.NewReader(client), bufio.NewReader(server)
	for part := range strings.SplitSeq(play, "|") {
		if part == "" || part == "S " {
			break
		}
		line, reader, to := part[2:]+"\r\n", fromClient, client
		switch part[0] {
		case 'S':
			to = server
			fallthrough
		case 'C':
			if _, err := io.WriteString(to, line); err != nil && len(line) < maxLine {
				return part + ": " + err.Error()
			}
			continue
		case '<':
			reader = fromServer
		}
		if got, err := reader.ReadString('\n'); got != line || err != nil {
			return part + ": got " + got
		}
	}
	if strings.HasSuffix(play, "S |") {
		server.Close()
	} else if strings.HasSuffix(play, "|") {
		client.Close()
	}
	return ""
}

// Nothing in the clear crosses into TLS: not what comes with STARTTLS.
func TestInjection(t *testing.T) {
	for protocol, line := range map[string]string{"smtp": "STARTTLS\r\nRSET\r\n", "imap": "a STARTTLS\r\nb LOGIN joe secret\r\n", "pop3": "STLS\r\nDELE 1\r\n"} {
		client, ours := net.Pipe()
		server, toServer := net.Pipe()
		for _, c := range []net.Conn{client, server} {
			c.SetDeadline(time.Now().Add(patience))
		}
		said := make(chan string, 1)
		go func() {
			bufio.NewReader(client).ReadString('\n') // the greeting
			io.WriteString(client, line)
			rest, _ := io.ReadAll(client)
			said <- string(rest)
		}()
		_, _, err := Negotiate(t.Context(), Config{Protocol: protocol, Client: ours, Server: toServer, Greeting: []byte("hello\r\n"), TLS: &tls.Config{}})
		ours.Close()
		toServer.Close()
		if rest := <-said; err != errInjected || rest != "" {
			t.Errorf("%s: %v, the client hears %q", protocol, err, rest)
		}
	}
}
