// Package datagram reads and writes UDP in batches, without memory for sockets
// on which nothing happens.
//
//	c, err := datagram.Listening(udpConn)
//	for err == nil {
//		err = c.Read(func(b *datagram.Batch) {
//			for i := range b.Len() {
//				… b.Payload(i), b.Peer(i), b.Local(i) …
//			}
//		})
//	}
//	c.Write(datagrams, datagram.Route{To: peer, From: local})
//
// It does what golang.org/x/net's batches do (recvmmsg, sendmmsg) but for two
// things: buffers are borrowed for the time of a call only, where x/net holds
// them while it waits (a megabyte a socket, and a UDP session is a socket); and
// no address is allocated. Trains of equal datagrams stay together from socket
// to socket (UDP_GRO, UDP_SEGMENT) where both sides can.
package datagram
