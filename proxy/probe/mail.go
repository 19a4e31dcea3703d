package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Bounds of what a mail server may say.
const (
	maxLine  = 1024 // RFC 5321 §4.5.3.1.5 wants 512
	maxLines = 100  // of one reply
)

// elsewhere are recipients that no server has: names that RFC 2606 keeps for
// examples, and an address of RFC 5737, which has no MX record that a server
// could refuse it for.
func elsewhere() []string {
	return []string{"genkan-probe@example.com", "genkan-probe@[192.0.2.1]"}
}

// Mail asks a mail server to take a letter for elsewhere, and breaks off before
// there is one: DATA is never said. greeting is the server's, nil where it
// comes yet. conn is the caller's to close.
func Mail(ctx context.Context, conn net.Conn, greeting []byte) Answer {
	stop, err := bound(ctx, conn)
	if err != nil {
		return unclear(err)
	}
	defer stop()
	d := &dialog{conn, bufio.NewReaderSize(conn, maxLine)}
	hello := string(greeting)
	if greeting == nil {
		if hello, err = d.reply(); err != nil {
			return unclear(err)
		}
	}
	if !strings.HasPrefix(hello, "220") {
		return refusal(hello)
	}
	defer d.leave()
	reply, err := d.begin()
	if err == nil && strings.HasPrefix(reply, "530") && strings.Contains(strings.ToUpper(reply), "STARTTLS") {
		reply, err = d.beginSecure()
	}
	switch {
	case err != nil:
		return unclear(err)
	case strings.HasPrefix(reply, "530"): // RFC 4954 §6: who has no password may send nothing
		return Answer{Refuses, reply}
	case reply[0] != '2':
		return Answer{Unclear, "refused before a recipient was named: " + reply}
	}
	answer := Answer{}
	for _, to := range elsewhere() {
		reply, err := d.ask("RCPT TO:<" + to + ">")
		switch {
		case err != nil:
			return unclear(err)
		case reply[0] == '2':
			return Answer{Trusts, reply}
		}
		if one := refusal(reply); answer.Text == "" || one.Verdict == Unclear {
			answer = one
		}
	}
	return answer
}

// refusal tells a refusal for good from one that holds for now. Sendmail denies
// relaying for now where the client has no name: it never allows it.
func refusal(reply string) Answer {
	lower := strings.ToLower(reply)
	if reply[0] == '5' || strings.Contains(lower, "relay") && strings.Contains(lower, "denied") {
		return Answer{Refuses, reply}
	}
	return Answer{Unclear, "refused for now: " + reply}
}

// A dialog is our part of the conversation.
type dialog struct {
	conn net.Conn
	in   *bufio.Reader
}

// begin says all that comes before a recipient, and gives the answer to it, or to
// the first part of it that is refused.
func (d *dialog) begin() (reply string, err error) {
	for _, line := range []string{"EHLO [192.0.2.1]", "MAIL FROM:<>"} {
		if reply, err = d.ask(line); err != nil || reply[0] != '2' {
			return reply, err
		}
	}
	return reply, nil
}

// beginSecure is begin by TLS, without which some servers take no mail (RFC 3207 §4).
// Whose certificate it is does not matter.
func (d *dialog) beginSecure() (reply string, err error) {
	if reply, err = d.ask("STARTTLS"); err != nil || !strings.HasPrefix(reply, "220") {
		return reply, err
	}
	d.conn = tls.Client(d.conn, &tls.Config{InsecureSkipVerify: true})
	d.in = bufio.NewReaderSize(d.conn, maxLine)
	return d.begin()
}

func (d *dialog) ask(line string) (string, error) {
	if _, err := d.conn.Write([]byte(line + "\r\n")); err != nil {
		return "", err
	}
	return d.reply()
}

// reply reads a reply, of one line or several (RFC 5321 §4.2.1), and gives its
// last line.
func (d *dialog) reply() (string, error) {
	for range maxLines {
		line, err := d.in.ReadSlice('\n')
		text := strings.TrimSpace(string(line))
		switch {
		case err != nil:
			return "", fmt.Errorf("no answer: %w", err)
		case len(text) < 3 || strings.Trim(text[:3], "0123456789") != "":
			return "", fmt.Errorf("no SMTP: %.40q", text)
		case len(text) == 3 || text[3] != '-':
			return text, nil
		}
	}
	return "", errors.New("an endless answer")
}

// leave takes back what was said.
func (d *dialog) leave() {
	if _, err := d.ask("RSET"); err == nil {
		_, _ = d.ask("QUIT") // all is said; a server that is gone already is no loss
	}
}
