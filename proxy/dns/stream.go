package dns

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
)

// A SubnetConn is a client's connection over TCP: the queries that are read from
// it have the client's network in them, and answers written to it have it no
// more. One goroutine may read while another writes.
type SubnetConn struct {
	*net.TCPConn
	client netip.Addr

	in []byte // of a query, not yet read

	writing sync.Mutex // guards out
	out     []byte     // the beginning of an answer
}

// NewSubnetConn makes one of a connection from client.
func NewSubnetConn(conn *net.TCPConn, client netip.Addr) *SubnetConn {
	return &SubnetConn{TCPConn: conn, client: client}
}

// NetConn is the connection below.
func (c *SubnetConn) NetConn() net.Conn { return c.TCPConn }

// Read gives bytes of a query once it is there as a whole (RFC 1035 §4.2.2: two
// bytes of length come first).
func (c *SubnetConn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		var length [2]byte
		if _, err := io.ReadFull(c.TCPConn, length[:]); err != nil {
			return 0, err
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c.TCPConn, query); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		query = AddSubnet(query, c.client)
		c.in = append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query))), query...)
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

// Write passes the answers on that p completes. It keeps less than one.
func (c *SubnetConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = append(c.out, p...)
	for len(c.out) >= 2 {
		end := 2 + int(binary.BigEndian.Uint16(c.out))
		if len(c.out) < end {
			break
		}
		answer := StripSubnet(c.out[2:end:end])
		binary.BigEndian.PutUint16(c.out, uint16(len(answer)))
		if _, err := c.TCPConn.Write(c.out[:2+len(answer)]); err != nil {
			return 0, err
		}
		c.out = c.out[:copy(c.out, c.out[end:])]
	}
	return len(p), nil
}
