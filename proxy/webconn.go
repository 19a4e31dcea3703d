package proxy

import (
	"net"
	"sync"
)

// A webConn is a client's connection to the sites of a listener.
type webConn struct {
	net.Conn
	arrival *arrival
	stream  *stream
	once    sync.Once
}

// Close closes the connection and gives its slot back, once.
func (c *webConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		c.arrival.server.conns.remove(c.stream)
		c.arrival.server.conns.release()
	})
	return err
}

// A leasedConn is a connection to a backend that counts there until closed.
type leasedConn struct {
	*net.TCPConn
	lease *lease
	once  sync.Once
}

// Close closes the connection and ends the lease, once.
func (c *leasedConn) Close() error {
	c.once.Do(c.lease.done)
	return c.TCPConn.Close()
}

// A connQueue is a net.Listener whose connections were accepted elsewhere.
type connQueue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newConnQueue() *connQueue {
	return &connQueue{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// put gives a connection to Accept. It is false when the queue is closed.
func (q *connQueue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.closed:
		return false
	}
}

// Accept implements net.Listener.
func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr implements net.Listener: there is none.
func (q *connQueue) Addr() net.Addr { return &net.TCPAddr{} }
