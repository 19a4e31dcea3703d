// Package http1 speaks HTTP/1.1 (RFC 9112) on both sides of the proxy: a
// Server that reads requests from clients, and a Transport that sends them
// to backends and reads the answers. Bytes become a message.Request or are
// refused; a message is written in one canonical form, and nothing that a
// peer wrote about framing is ever passed on.
//
//	sweeper := sweep.New()
//	go sweeper.Run(ctx)
//	transport := http1.NewTransport(http1.TransportConfig{Dial: dial, Sweeper: sweeper})
//	server := http1.NewServer(http1.Config{Sweeper: sweeper, Relay: relay})
//	handler := &exchange.Handler{Policy: sites, Transport: transport}
//	for {
//		conn, err := listener.Accept()
//		...
//		c := server.NewConn(conn, nil, message.Source{Client: client, Local: local}, handler)
//		go c.Serve()
//	}
//	server.Drain() // then Cut at the deadline, then transport.CloseIdle()
//
// A connection's life:
//
//	first byte → head (strict) → Handler.Handle → answer, streamed → Done → next
//	     └ no request: one 4xx answer, then the connection ends
//
// After any error of framing, and where a body was not read to its end, the
// connection ends: nobody can know where the next message begins. A backend's
// connection is used again only after a whole answer with nothing behind it.
//
// A connection that waits holds no buffer; every wait is bounded by Config
// and TransportConfig through package sweep.
//
// A plain connection is better served on an event loop (package fiber), which
// saves a third of the CPU time of small exchanges: then
//
//	fc, err := loop.Take(conn)
//	c := server.NewConn(fc, nil, source, handler)
//	c.Start(ended)
//
// The code is the same; loop.go has what differs. TLS shakes hands in a
// goroutine and may move to a loop then (NewSecureConn).
package http1
