package proxy

import (
	"slices"

	"genkan/acl"
	"genkan/proxy/datagram"
	"genkan/proxy/dns"
)

// takeQueries passes queries on, of one datagram or of a train of segment
// bytes each. Every one is judged by itself: a client may ask many in one
// session, the first of which, fresh, opened it.
func (one *session) takeQueries(payload []byte, segment int, fresh bool) {
	if segment == 0 {
		segment = max(1, len(payload))
	}
	var packets [16]datagram.Packet
	n := 0
	for query := range slices.Chunk(payload, segment) {
		if dns.IsAnswer(query) || !fresh && !one.mayAsk() {
			continue
		}
		fresh = false
		one.received(len(query), 1)
		one.clamp(query)
		if one.forward.ECS {
			query = dns.AddSubnet(query, one.key.client.Addr())
		}
		packets[n] = datagram.Packet{Head: one.head, Payload: query}
		if n++; n == len(packets) {
			one.toBackend(packets[:n])
			n = 0
		}
	}
	if n > 0 {
		one.toBackend(packets[:n])
	}
}

// mayAsk judges the client anew, by the rules of this moment.
func (one *session) mayAsk() bool {
	s, f := one.door.server, one.forward
	if now := s.state.Load().forwards[f.Name]; now != nil {
		f = now
	}
	one.judging.Lock()
	defer one.judging.Unlock()
	if one.released {
		return false
	}
	one.verdict.Release() // it is one client all the same
	one.verdict = s.judge(f.gateway, acl.Client{Addr: acl.AddrFrom(one.key.client.Addr()), Tunnel: one.tunnel})
	return one.verdict.Allow
}

// clamp looks at a query before it goes to the backend: an IPv6 client is
// answered by datagrams that no path fragments. A signed one passes as it is. A
// session may have several queries under way: the largest bounds all.
func (one *session) clamp(query []byte) {
	most := uint16(dns.NoLimit)
	if one.key.client.Addr().Is6() {
		most = dns.PathLimit
	}
	if limit := int64(dns.Clamp(query, most)); limit > one.limit.Load() {
		one.limit.Store(limit)
	}
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
		return one.edit(payload, limit), false
	case segment <= limit && !one.forward.ECS:
		return payload, false
	}
	for answer := range slices.Chunk(payload, segment) {
		one.door.conn.Write([]datagram.Packet{{Payload: one.edit(answer, limit)}}, route)
	}
	return nil, true
}

// edit makes one answer the client's.
func (one *session) edit(answer []byte, limit int) []byte {
	answer = dns.Fit(answer, limit)
	if one.forward.ECS {
		answer = dns.StripSubnet(answer)
	}
	return answer
}
