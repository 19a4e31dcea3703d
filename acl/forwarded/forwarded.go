// Package forwarded finds out who the client of an HTTP request is, when the
// peer is a proxy that is trusted to say so.
//
//	r := forwarded.Resolver{Header: forwarded.XForwardedFor, Trusted: proxies}
//	client, err := r.Client(peer, req.Header["X-Forwarded-For"])
//	if err != nil {
//		return 400
//	}
//
// Exactly one header is read, the one that the operator named. It is walked
// from right to left, as each proxy appends whom it saw: past trusted proxies,
// up to the first address that is not trusted, which is the client. What
// stands left of that is the client's own text. An element that is no address
// ends the walk too: then the last proxy is all that is known.
package forwarded

import (
	"fmt"
	"strings"

	"genkan/acl"
)

// A Header is the name of the header that is believed. The zero Header is
// none: the peer is the client.
type Header string

// The headers that a Resolver reads.
const (
	XForwardedFor Header = "X-Forwarded-For"
	Forwarded     Header = "Forwarded" // RFC 7239
)

// ParseHeader reads the name of a header, in any case.
func ParseHeader(s string) (Header, error) {
	for _, h := range []Header{XForwardedFor, Forwarded} {
		if strings.EqualFold(s, string(h)) {
			return h, nil
		}
	}
	return "", fmt.Errorf("%q is not a header that tells the client; write \"x-forwarded-for\" or \"forwarded\"", s)
}

// What a request may say about its way; more is an attack or a loop.
const (
	MaxBytes    = 8 << 10
	MaxElements = 100
)

// A Resolver finds the client. The zero Resolver believes nobody.
type Resolver struct {
	Header  Header
	Trusted *acl.List // the proxies; nil: none
}

// Client returns the client of a request from peer. lines are the values of
// all fields named r.Header, in the order they came; fields whose names merely
// resemble it (X_Forwarded_For) are not among them. The error means that the
// request is to be answered with 400.
func (r Resolver) Client(peer acl.Addr, lines []string) (acl.Addr, error) {
	if !r.trusts(peer) {
		return peer, nil
	}
	total := 0
	for _, line := range lines {
		total += len(line) + 1
	}
	if total > MaxBytes {
		return acl.Addr{}, fmt.Errorf("%s has %d bytes; at most %d are read", r.Header, total, MaxBytes)
	}
	client := peer
	count := 0
	for i := len(lines) - 1; i >= 0; i-- {
		elements, whole := r.split(lines[i])
		if count += len(elements); count > MaxElements {
			return acl.Addr{}, fmt.Errorf("%s has more than %d elements", r.Header, MaxElements)
		}
		for j := len(elements) - 1; j >= 0; j-- {
			a, err := r.parse(elements[j])
			if err != nil {
				return client, nil
			}
			if client = a; !r.trusts(a) {
				return client, nil
			}
		}
		if !whole {
			return client, nil
		}
	}
	return client, nil
}

// trusts reports whether what a says is believed.
func (r Resolver) trusts(a acl.Addr) bool {
	return r.Header != "" && r.Trusted != nil && r.Trusted.Contains(a, noTime)
}

// split returns the elements of one line. whole is false where the line is no
// list, so that nothing in it can be told apart.
func (r Resolver) split(line string) (elements []string, whole bool) {
	if r.Header == Forwarded {
		return splitForwarded(line)
	}
	return strings.Split(line, ","), true
}

func (r Resolver) parse(element string) (acl.Addr, error) {
	if r.Header == Forwarded {
		return acl.ParseForwardedFor(element)
	}
	return acl.ParseXFF(element)
}
