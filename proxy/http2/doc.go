// Package http2 is the HTTP/2 front (RFC 9113): it reads requests from one
// connection with many streams and has them answered by the same
// message.Handler as package http1.
//
//	server := http2.NewServer(http2.Config{Sweeper: sweeper})
//	c := server.NewConn(conn, read, source, handler) // after ALPN "h2", or the preface
//	go c.Serve()
//
// Frames and header compression are golang.org/x/net/http2's Framer and hpack;
// states of streams, flow control, and what to do about abuse are here:
//
//	Serve ── frames ──► streams ── start ──► Handle ──► answer ──► frames
//	  │ one goroutine      │ one goroutine a stream, at most MaxStreams
//	  └ counts what costs us and brings nothing (abuse.go)
//
// Streams begin to be handled only when all that has arrived was read, so
// that a stream which is reset in the same breath costs no backend anything
// (CVE-2023-44487), and one that is over still counts until its handler is.
package http2
