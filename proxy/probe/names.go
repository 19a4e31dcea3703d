package probe

import (
	"context"
	"net"

	"github.com/miekg/dns"
)

// foreign is a name that no server behind a proxy is there for: the reverse
// zone of TEST-NET-1. A resolver answers it by itself (RFC 6303 §4.3), so that
// nobody else is asked.
const foreign = "2.0.192.in-addr.arpa."

// Names asks a name server for a name that is not its own. It trusts the client
// if it offers to look it up, by the bit RA (RFC 1035 §4.1.1): BIND, for one,
// sets it for those whom it allows recursion. conn is over TCP, or over UDP;
// head is what goes before a datagram. It is the caller's to close.
func Names(ctx context.Context, conn net.Conn, head []byte) Answer {
	stop, err := bound(ctx, conn)
	if err != nil {
		return unclear(err)
	}
	defer stop()
	q := new(dns.Msg).SetQuestion(foreign, dns.TypeSOA)
	raw, err := q.Pack()
	if err != nil {
		return unclear(err)
	}
	c := &dns.Conn{Conn: conn}
	if _, overUDP := conn.(*net.UDPConn); overUDP {
		_, err = conn.Write(append(head, raw...))
	} else {
		_, err = c.Write(raw)
	}
	if err != nil {
		return unclear(err)
	}
	answer, err := c.ReadMsg()
	switch {
	case err != nil:
		return unclear(err)
	case answer.Id != q.Id || !answer.Response:
		return Answer{Unclear, "an answer to something else"}
	case answer.RecursionAvailable && answer.Rcode != dns.RcodeRefused:
		return Answer{Trusts, "recursion available, " + dns.RcodeToString[answer.Rcode]}
	}
	return Answer{Refuses, dns.RcodeToString[answer.Rcode]}
}
