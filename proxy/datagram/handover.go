package datagram

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// pausing asks a loop to leave a socket alone.
type pausing struct {
	socket *Socket
	done   chan struct{} // closed once it does
}

// Pause lets what arrives wait in the kernel's queue, for another process that
// has the socket too, or until Resume. When it returns no handler of the socket
// is being called. Handlers must not call it.
func (s *Socket) Pause() {
	l := s.loop
	l.mu.Lock()
	if l.quit || s.dead.Load() {
		l.mu.Unlock()
		return
	}
	p := pausing{s, make(chan struct{})}
	l.pausing = append(l.pausing, p)
	l.wake()
	l.mu.Unlock()
	<-p.done
}

// Resume ends Pause.
func (s *Socket) Resume() error {
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	if s.loop.quit || s.dead.Load() {
		return fmt.Errorf("datagram: %w", net.ErrClosed)
	}
	return s.loop.watch(s.fd)
}

// File gives a duplicate of the socket, for another process. The caller closes it.
func (s *Socket) File() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil, fmt.Errorf("datagram: %w", net.ErrClosed)
	}
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("datagram: %w", os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), "udp"), nil
}

// Adopt makes a Socket of one that another process has connected. It takes the
// file over, also when it fails.
func (ls *Loops) Adopt(f *os.File, h Handler) (*Socket, error) {
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("datagram: %w", err)
	}
	fd := -1
	controlErr := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) })
	if controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return nil, fmt.Errorf("datagram: %w", err)
	}
	return ls.start(fd, h)
}
