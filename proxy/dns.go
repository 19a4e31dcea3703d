package proxy

import (
	"slices"

	"genkan/proxy/datagram"
	"genkan/proxy/dns"
)

// clamp looks at queries before they go to the backend: an IPv6 client is
// answered by datagrams that no path fragments. Signed ones pass as they are.
func (one *session) clamp(payload []byte, segment int) {
	if one.forward.Protocol != "dns" || len(payload) == 0 {
		return
	}
	most := uint16(dns.NoLimit)
	if one.key.client.Addr().Is6() {
		most = dns.PathLimit
	}
	if segment == 0 {
		segment = len(payload)
	}
	limit := int(one.limit.Load())
	for query := range slices.Chunk(payload, segment) {
		// A session may have several queries under way: the largest bounds all.
		limit = max(limit, dns.Clamp(query, most))
	}
	one.limit.Store(int64(limit))
}

// fit makes an answer one that its client takes: what is too large says TC=1,
// and the client comes again over TCP. It is written at once, and fit is true,
// where it was part of a train: it is none any more.
func (one *session) fit(payload []byte, segment int, route datagram.Route) (short []byte, apart bool) {
	limit := int(one.limit.Load())
	switch {
	case one.forward.Protocol != "dns":
		return payload, false
	case segment == 0 || segment >= len(payload):
		return dns.Fit(payload, limit), false
	case segment <= limit:
		return payload, false
	}
	for answer := range slices.Chunk(payload, segment) {
		one.door.conn.Write([]datagram.Packet{{Payload: dns.Fit(answer, limit)}}, route)
	}
	return nil, true
}
