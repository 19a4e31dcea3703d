package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"

	"genkan/proxy/fiber"
)

// A session is TLS towards a backend: over a link in a goroutine, over an
// event loop's connection there.
type session struct {
	*tls.Conn
	swap *fiber.Swap
	link *link
}

// A link is the connection under a session that is no event loop's. While it
// is dry a Read fails rather than waits.
type link struct {
	net.Conn
	raw syscall.RawConn
	dry bool
}

// Read implements net.Conn.
func (l *link) Read(p []byte) (n int, err error) {
	if !l.dry {
		return l.Conn.Read(p)
	}
	cerr := l.raw.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), p)
		return true
	})
	switch {
	case cerr != nil:
		return 0, cerr
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0, fiber.ErrDry
	case err == nil && n == 0:
		return 0, errEnded
	}
	return max(n, 0), err
}

var errEnded = errors.New("the backend closed the connection")

// secure shakes hands with a backend: its certificate has to be as config
// says. conn is closed where that fails.
func secure(ctx context.Context, conn net.Conn, config *tls.Config) (*session, error) {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	l := &link{Conn: conn}
	tcp, ok := conn.(syscall.Conn)
	err := errors.ErrUnsupported
	if ok {
		l.raw, err = tcp.SyscallConn()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	s := &session{swap: &fiber.Swap{Conn: l}, link: l}
	s.Conn = tls.Client(s.swap, config)
	if err := s.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return s, nil
}

// silent reports whether an idle session is open and nothing came that
// nobody asked for: neither under the encryption nor already out of it.
func (c *backendConn) silent() bool {
	if c.session == nil {
		return c.alive()
	}
	if c.guard.ReadStruck() {
		return false
	}
	var b [1]byte
	var err error
	look := func() { _, err = c.conn.Read(b[:]) }
	if c.loops != nil {
		c.loops.Dry(look)
	} else {
		c.session.link.dry = true
		look()
		c.session.link.dry = false
	}
	return errors.Is(err, fiber.ErrDry)
}

// closeConn closes the connection. On a loop the goodbye of TLS is left out:
// nobody there may wait, and a client has nothing to prove by it.
func (c *backendConn) closeConn() {
	if c.session != nil && c.loops != nil {
		c.loops.Close()
		return
	}
	c.conn.Close()
}
