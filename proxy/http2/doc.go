// Package http2 is the HTTP/2 front (RFC 9113): it reads requests from one
// connection with many streams and has them answered by the same
// message.Handler as package http1.
//
//	server := http2.NewServer(http2.Config{Sweeper: sweeper})
//	c := server.NewConn(conn, read, source, handler) // after ALPN "h2", or the preface
//	c.Start(done)
//
// Frames and header compression are golang.org/x/net/http2's Framer and hpack;
// states of streams, flow control, and what to do about abuse are here. All of
// a connection runs on one event loop (package fiber), but for streams whose
// content is passed on while the answer is awaited: those have goroutines.
//
//	frames ── run ──► streams ── start ──► handle ──► outbox ── send ──► frames
//	       one fiber     │  a fiber or goroutine each      one fiber, for
//	          │          │  at most MaxStreams             all that gathered
//	          └ counts what costs us and brings nothing (abuse.go)
//
// Streams begin to be handled only when all that has arrived was read, so
// that a stream which is reset in the same breath costs no backend anything
// (CVE-2023-44487), and one that is over still counts until its handler is.
package http2
