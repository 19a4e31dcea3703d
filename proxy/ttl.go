package proxy

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// lookupSystem asks as the system is configured to (hosts file, search list,
// servers). The TTL is read from the answers as they pass, since package net
// does not tell it; it is zero for names of the hosts file.
func lookupSystem(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	var dialer net.Dialer
	return lookupBy(ctx, name, dialer.DialContext)
}

// lookupBy asks servers that dial connects to.
func lookupBy(ctx context.Context, name string, dial func(ctx context.Context, network, address string) (net.Conn, error)) ([]netip.Addr, time.Duration, error) {
	seen := &ttlSeen{}
	resolver := net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// The resolver tells datagrams from streams by the type.
			if udp, ok := conn.(*net.UDPConn); ok {
				return &ttlConn{udp, seen}, nil
			}
			return conn, nil
		},
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip4", name)
	for i, addr := range addrs {
		addrs[i] = addr.Unmap()
	}
	return addrs, seen.ttl(), err
}

// ttlSeen is the shortest TTL of the A and CNAME records of a lookup.
type ttlSeen struct {
	mu       sync.Mutex // guards the fields below
	any      bool
	shortest uint32
}

func (s *ttlSeen) ttl() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.shortest) * time.Second
}

// note takes one DNS message; what is none is ignored.
func (s *ttlSeen) note(message []byte) {
	var parser dnsmessage.Parser
	if _, err := parser.Start(message); err != nil || parser.SkipAllQuestions() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		header, err := parser.AnswerHeader()
		if err != nil || parser.SkipAnswer() != nil {
			return
		}
		if header.Type != dnsmessage.TypeA && header.Type != dnsmessage.TypeCNAME {
			continue
		}
		if !s.any || header.TTL < s.shortest {
			s.any, s.shortest = true, header.TTL
		}
	}
}

// A ttlConn shows the datagrams of a resolver to a ttlSeen.
type ttlConn struct {
	*net.UDPConn
	seen *ttlSeen
}

func (c *ttlConn) Read(p []byte) (int, error) {
	n, err := c.UDPConn.Read(p)
	c.seen.note(p[:n])
	return n, err
}
