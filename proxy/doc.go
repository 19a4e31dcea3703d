// Package proxy is the door: it listens, decides who may enter, and hands
// clients of both families on to servers that speak IPv4 only.
//
//	server, err := proxy.New(proxy.Config{Forwards: …, Sites: …, Log: log})
//	if err == nil {
//		err = server.Listen() // all listeners, or none
//	}
//	if err == nil {
//		err = server.Serve(ctx) // until ctx ends; then drains
//	}
//
// A TCP connection's life, and the file that tells each part:
//
//	accept     one socket a family, IPv6 only, on the pipe engine's loops    bind.go, accept.go
//	client     canonical address, PROXY header from those who must send one  arrival.go, enter.go
//	service    a site by Host; a forward by its port, or by the name in TLS  state.go, enter.go
//	verdict    the rules of acl; a denied client gets an RST, or 403         judge.go
//	backend    round-robin, least, hash; none that is ejected or down        group.go, health.go
//	source     our own address, the client's pool address, or its own        pools.go, transparent.go
//	announce   PROXY header, or fields of HTTP                               announce.go, web
//	dial       IPv4 only, never to ourselves; the next one if it fails       guard.go, forward.go
//	certify    files, an ACME CA, our own CA (certs); CAs before any rule     certificate.go, webtls.go, https.go
//	speak      TLS towards the client, XCLIENT towards the server            terminate.go
//	pipe       proxy/pipe moves the bytes; idle and lifetime are bounded     forward.go
//	close      RST or half-close as the other side did; count, one log line  forward.go
//
// A request to a site takes, besides, what handling.go has: its route, then
// the rules, bounds.go, https.go, clientcert.go, auth.go, an answer of our own
// or the backend, edits; pages.go shows errors. logs.go writes the access log.
//
// UDP clients have sessions (udp.go, session.go) with the same parts but for
// the pipe; answers of DNS are kept short (dns.go). HTTP takes them for each
// request (site.go, webengine.go). Every connection is counted in a gate
// (accept.go) and known to a tracker, which can cut it (tracker.go). Apply
// replaces the configuration under all this (reload.go).
package proxy
