package proxy

import (
	"fmt"
	"time"

	"genkan/acl"
	"genkan/acl/forwarded"
	"genkan/proxy/message"
)

// A trust is a Trust made ready. The zero trust believes nobody.
type trust struct {
	resolver forwarded.Resolver
	from     *acl.List // nil: nobody
}

// ready checks t.
func (t Trust) ready() (trust, error) {
	if t.List == nil && len(t.From) == 0 {
		if t.Header != "" {
			return trust{}, fmt.Errorf("trust: header %q is believed from nobody; write whom to trust", t.Header)
		}
		return trust{}, nil
	}
	header := forwarded.XForwardedFor
	if t.Header != "" {
		var err error
		if header, err = forwarded.ParseHeader(t.Header); err != nil {
			return trust{}, fmt.Errorf("trust: %w", err)
		}
	}
	from := t.List
	if from == nil {
		var set acl.SetBuilder
		for _, p := range t.From {
			set.AddPrefix(p)
		}
		from = acl.NewList(set.Build())
	}
	return trust{forwarded.Resolver{Header: header, Trusted: from}, from}, nil
}

// client finds out who sent a request over a connection of peer. What a proxy
// says is not what the tunnel has checked. An error is answered with 400.
func (t trust) client(peer acl.Client, header message.Header) (acl.Client, error) {
	if t.from == nil {
		return peer, nil
	}
	addr, err := t.resolver.Client(peer.Addr, header.Values(string(t.resolver.Header)))
	if err != nil || addr == peer.Addr {
		return peer, err
	}
	return acl.Client{Addr: addr}, nil
}

// scheme is by what the client came to the trusted proxy, if that says so.
func (t trust) scheme(peer acl.Client, header message.Header, seen string) string {
	if t.from == nil || !t.from.Contains(peer.Addr, time.Time{}) {
		return seen
	}
	switch told := header.Get("X-Forwarded-Proto"); told {
	case "http", "https":
		return told
	}
	return seen
}
