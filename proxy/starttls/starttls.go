// Package starttls gives the clients of a mail server that speaks plain the
// STARTTLS of SMTP (RFC 3207), IMAP (RFC 9051 §6.2.1) and POP3 (STLS, RFC
// 2595 §4):
//
//	client, head, err := starttls.Negotiate(ctx, starttls.Config{Protocol: "imap", Client: raw, Server: server, TLS: config})
//	// from here on bytes are relayed between client and server, head first
//
// Until TLS stands it reads the few commands that a client says before, one at
// a time, and offers STARTTLS in the server's list of capabilities; the
// server's own is taken out. What follows STARTTLS in the clear was not said
// by who speaks over TLS then (CVE-2011-0411) and ends the connection.
//
// IMAP and POP3 are for people with passwords: there TLS is required (RFC 8314
// §3). A mail server that others find by MX must take mail without (RFC 3207
// §4), so over SMTP TLS is the client's choice.
package starttls

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	// within bounds all that is said before the bytes are relayed. RFC 5321
	// §4.5.3.2: five minutes for a greeting, or for a command.
	within = 5 * time.Minute

	maxLine     = 4096 // RFC 2683 §3.2.1.5 wants 1000, RFC 5321 §4.5.3.1 512
	maxLines    = 200  // of one answer
	maxCommands = 100  // before TLS or the first one that is passed on
)

// Config is one client's connection.
type Config struct {
	Protocol       string // "smtp", "imap" or "pop3"
	Client, Server net.Conn
	Greeting       []byte // the server's, where it was read already; nil: it comes yet
	TLS            *tls.Config
}

// Supports tells whether Negotiate knows a protocol.
func Supports(protocol string) bool {
	_, ok := dialect(protocol)
	return ok
}

// errInjected ends a connection with bytes that would cross the border
// between plain and TLS.
var errInjected = errors.New("bytes in the clear behind STARTTLS: an injection")

// Negotiate leads a client to TLS, or in SMTP to its first command without
// it. It gives the connection that the client's bytes come from now, and those
// that it has read and the server must have first. After an error both
// connections are the caller's to close.
func Negotiate(ctx context.Context, cfg Config) (client net.Conn, head []byte, err error) {
	speech, ok := dialect(cfg.Protocol)
	if !ok {
		return nil, nil, fmt.Errorf("protocol %q has no STARTTLS here", cfg.Protocol)
	}
	deadline := time.Now().Add(within)
	for _, c := range []net.Conn{cfg.Client, cfg.Server} {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, nil, err
		}
		stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
		defer stop()
	}
	d := &dialog{Config: cfg, speech: speech, fromClient: bufio.NewReaderSize(cfg.Client, maxLine), fromServer: bufio.NewReaderSize(cfg.Server, maxLine)}
	if head, err = d.run(ctx); err != nil {
		return nil, nil, err
	}
	return d.Client, head, errors.Join(d.Client.SetDeadline(time.Time{}), cfg.Server.SetDeadline(time.Time{}))
}

// A dialog is a client's connection before its bytes are relayed.
type dialog struct {
	Config
	speech     speech
	secure     bool // TLS stands
	fromClient *bufio.Reader
	fromServer *bufio.Reader
}

func (d *dialog) run(ctx context.Context) (head []byte, err error) {
	greeting := d.Greeting
	if greeting == nil {
		if greeting, err = d.answer(""); err != nil {
			return nil, err
		}
	}
	if err := d.tell(d.speech.edit(greeting, false)); err != nil {
		return nil, err
	}
	for range maxCommands {
		line, err := d.fromClient.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && (d.secure || d.speech.optional) {
			return d.rest(string(line)) // RFC 4954 §4: of AUTH, up to 12288 octets
		}
		if err != nil {
			return nil, fmt.Errorf("the client's command: %w", err)
		}
		text := string(line)
		tag, kind := d.speech.command(text)
		switch {
		case kind == start && !d.secure:
			if err := d.upgrade(ctx, tag); err != nil {
				return nil, err
			}
		case kind == harmless || kind == capabilities:
			if err := d.forward(text, tag, kind); err != nil {
				return nil, err
			}
		case d.secure || d.speech.optional:
			return d.rest(text)
		default:
			if err := d.tell([]byte(d.speech.refuse(tag))); err != nil {
				return nil, err
			}
		}
	}
	return nil, fmt.Errorf("the client says %d commands and nothing in them", maxCommands)
}

// upgrade makes the client's connection a TLS one.
func (d *dialog) upgrade(ctx context.Context, tag string) error {
	if d.fromClient.Buffered() > 0 {
		return errInjected
	}
	if err := d.tell([]byte(d.speech.ready(tag))); err != nil {
		return err
	}
	conn := tls.Server(d.Client, d.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	d.Client, d.secure = conn, true
	d.fromClient = bufio.NewReaderSize(conn, maxLine)
	return nil
}

// forward has the server answer one command.
func (d *dialog) forward(line, tag string, kind kind) error {
	if _, err := d.Server.Write([]byte(line)); err != nil {
		return err
	}
	answer, err := d.answer(line)
	if err != nil {
		return err
	}
	if kind == capabilities {
		answer = d.speech.edit(answer, d.secure)
	}
	return d.tell(answer)
}

// answer reads the server's answer to a line; to "", its greeting.
func (d *dialog) answer(to string) ([]byte, error) {
	var all []byte
	for n := range maxLines {
		line, err := d.fromServer.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("the server's answer: %w", err)
		}
		all = append(all, line...)
		if d.speech.last(to, string(line), n) {
			return all, nil
		}
	}
	return nil, fmt.Errorf("the server's answer: more than %d lines", maxLines)
}

func (d *dialog) tell(text []byte) error {
	_, err := d.Client.Write(text)
	return err
}

// rest is what both sides have said that was not passed on.
func (d *dialog) rest(line string) ([]byte, error) {
	said, err := d.fromServer.Peek(d.fromServer.Buffered())
	if err == nil && len(said) > 0 {
		err = d.tell(said)
	}
	if err != nil {
		return nil, err
	}
	early, err := d.fromClient.Peek(d.fromClient.Buffered())
	return append([]byte(line), early...), err
}
