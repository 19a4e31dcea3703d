// Package xclient tells a mail server who the client is, by Postfix' XCLIENT
// (https://www.postfix.org/XCLIENT_README.html), before the client speaks:
//
//	server ► 220 backend.example.test ESMTP Postfix
//	us     ► EHLO genkan
//	server ► 250-XCLIENT NAME ADDR PORT …
//	us     ► XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=50047
//	server ► 220 backend.example.test ESMTP Postfix      ► the client's greeting
//
// The server begins anew after XCLIENT: what it has learned from our EHLO is
// forgotten, and STARTTLS is between the client and the server.
package xclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	// within bounds the whole exchange. RFC 5321 §4.5.3.2.1: a greeting may
	// take five minutes.
	within = 5 * time.Minute

	maxLines = 100  // of one reply
	maxLine  = 1024 // RFC 5321 §4.5.3.1.5 wants 512
)

// Announce says to server that client is behind this connection, and gives the
// greeting for the client. A server that does not offer XCLIENT, or refuses
// it, is an error: it would take the client for us. A server that greets with
// anything but 220 has its say, and is told nothing.
func Announce(ctx context.Context, server net.Conn, client netip.AddrPort) (greeting []byte, err error) {
	if err := server.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { server.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	d := dialog{server, bufio.NewReaderSize(server, maxLine)}
	if greeting, err = d.reply(); err != nil || code(greeting) != "220" {
		return greeting, err
	}
	offer, err := d.ask("EHLO genkan\r\n")
	if err != nil {
		return nil, err
	}
	known := attributes(offer)
	if code(offer) != "250" || !slices.Contains(known, "ADDR") {
		return nil, errors.New("the server offers no XCLIENT; write our address into its smtpd_authorized_xclient_hosts")
	}
	if greeting, err = d.ask(command(client, known)); err != nil {
		return nil, err
	}
	if code(greeting) != "220" {
		return nil, fmt.Errorf("the server refuses XCLIENT: %q; one for IPv6 clients needs inet_protocols = all", greeting)
	}
	if d.from.Buffered() > 0 {
		return nil, errors.New("the server says more than its greeting")
	}
	return greeting, server.SetDeadline(time.Time{})
}

// command names the client, with those attributes that the server knows.
func command(client netip.AddrPort, known []string) string {
	addr := client.Addr().Unmap().WithZone("")
	text := addr.String()
	if addr.Is6() {
		text = "IPV6:" + text
	}
	line := "XCLIENT"
	for _, attribute := range []struct{ name, value string }{
		{"NAME", "[UNAVAILABLE]"}, // we look no names up
		{"ADDR", text},
		{"PORT", fmt.Sprint(client.Port())},
	} {
		if slices.Contains(known, attribute.name) {
			line += " " + attribute.name + "=" + attribute.value
		}
	}
	return line + "\r\n"
}

// attributes are those of XCLIENT that a reply to EHLO offers.
func attributes(offer []byte) []string {
	for line := range strings.Lines(string(offer)) {
		if len(line) < 4 {
			continue
		}
		if words := strings.Fields(strings.ToUpper(line[4:])); len(words) > 0 && words[0] == "XCLIENT" {
			return words[1:]
		}
	}
	return nil
}

// code is a reply's, "" where it has none.
func code(reply []byte) string { return string(reply[:min(3, len(reply))]) }

// A dialog is our part of the conversation.
type dialog struct {
	server net.Conn
	from   *bufio.Reader
}

func (d dialog) ask(line string) ([]byte, error) {
	if _, err := d.server.Write([]byte(line)); err != nil {
		return nil, err
	}
	return d.reply()
}

// reply reads one reply, of one line or several (RFC 5321 §4.2.1).
func (d dialog) reply() ([]byte, error) {
	var all []byte
	for range maxLines {
		line, err := d.from.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("the server's reply: %w", err)
		}
		all = append(all, line...)
		if len(line) < 5 || line[3] != '-' {
			return all, nil
		}
	}
	return nil, fmt.Errorf("the server's reply: more than %d lines", maxLines)
}
