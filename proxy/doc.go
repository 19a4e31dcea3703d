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
//	accept      one socket a family, IPv6 only; pauses without descriptors   bind.go, accept.go
//	client      canonical address; mapped sources are hostile                arrival.go
//	verdict     the rules of acl; a denied client gets an RST, or 403        judge.go
//	service     a site by Host, or the forward of the port                   state.go, site.go
//	backend     round-robin, least, hash; none that is ejected or down       group.go, health.go
//	dial        IPv4 only, never to ourselves; the next one if it fails      guard.go, forward.go
//	pipe        proxy/pipe moves the bytes; idle and lifetime are bounded    forward.go
//	close       RST or half-close as the other side did; one log line        forward.go
//
// Every connection holds a slot of MaxConns from accept to close (tracker.go).
// Apply replaces the configuration under all this (reload.go).
package proxy
