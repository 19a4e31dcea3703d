// Package datagram reads and writes UDP in batches, for any number of sockets
// on a few goroutines.
//
//	loops, err := datagram.NewLoops(0)             // one a core
//	door, err := loops.Listen(udpConn, handler)
//	backend, err := loops.Connect(to, from, handler)
//
//	func (h *handler) Datagrams(b *datagram.Batch) {
//		for i := range b.Len() {
//			… b.Payload(i), b.Peer(i), b.Local(i) …
//		}
//		door.Write(packets, datagram.Route{To: peer, From: local})
//	}
//
// Each socket belongs to one loop, an epoll set: there is no goroutine and no
// buffer for a socket on which nothing happens, and a UDP session is a socket.
// What a handler is told it is told on its socket's loop, one thing after the
// other; it must not block. Anybody may write to a socket or close it.
//
// A loop receives by recvmmsg(2) into one batch of its own. Trains of equal
// datagrams stay together from socket to socket (UDP_GRO, UDP_SEGMENT) where
// both sides can. A datagram that the socket's buffer has no room for is
// dropped, as any other hop would.
package datagram
