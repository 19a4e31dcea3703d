package http3

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// A Socket is the UDP socket of a Server, made so that a process can go on with
// it while the one before lets its connections finish. The connection IDs that
// a process gives begin with its Tag. The younger process reads all packets and
// passes those of the older one on to it; both write to the socket itself.
//
//	client ──► UDP socket ──► younger: its own Tag? ──► quic-go
//	                               └── of the older ──► its quic-go
type Socket struct {
	*net.UDPConn
	tag   Tag
	older *Older // nil: there is no older process
	via   func(index int) bool
	reads *ipv4.PacketConn

	mu       sync.Mutex    // guards what follows
	younger  *os.File      // where our packets come from; nil: from the socket
	deadline time.Time     // as quic-go has set it last
	changed  chan struct{} // closed and replaced when any of these changes
}

// A Tag is the first bytes of the connection IDs of a process.
type Tag [4]byte

// An Older is a process that still serves connections of a socket, and those
// before it for which that one passes packets on.
type Older struct {
	Tags []Tag
	Pipe *os.File // takes its packets
}

// idLen is that of our connection IDs. It is the same for all versions of this
// program: a process has to find the Tag in the IDs of another.
const idLen = 12

// NewSocket makes a Socket of conn, which it takes over, as older. via tells
// whether an interface is the tunnel; see ViaTunnel. Nil: none is.
func NewSocket(conn *net.UDPConn, older *Older, via func(index int) bool) *Socket {
	s := &Socket{UDPConn: conn, older: older, via: via, reads: ipv4.NewPacketConn(conn), changed: make(chan struct{})}
	_, _ = rand.Read(s.tag[:]) // crypto/rand does not fail
	return s
}

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (s *Socket) GenerateConnectionID() (quic.ConnectionID, error) {
	id := make([]byte, idLen)
	_, _ = rand.Read(id[copy(id, s.tag[:]):])
	return quic.ConnectionIDFromBytes(id), nil
}

// ConnectionIDLen implements quic.ConnectionIDGenerator.
func (s *Socket) ConnectionIDLen() int { return idLen }

// HandOver lets another process read the socket from now on. What it gets is
// for NewSocket there. TakeBack ends it.
func (s *Socket) HandOver() (Older, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Older{}, fmt.Errorf("http3: %w", os.NewSyscallError("socketpair", err))
	}
	older := Older{Tags: []Tag{s.tag}, Pipe: os.NewFile(uintptr(pair[1]), "packets")}
	if s.older != nil {
		older.Tags = append(older.Tags, s.older.Tags...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.younger = os.NewFile(uintptr(pair[0]), "packets")
	s.tell()
	return older, errors.Join(s.UDPConn.SetReadDeadline(past), s.younger.SetReadDeadline(s.deadline))
}

// TakeBack reads the socket again.
func (s *Socket) TakeBack() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.younger == nil {
		return nil
	}
	err := s.younger.Close() // wakes the reader
	s.younger = nil
	s.tell()
	return errors.Join(err, s.UDPConn.SetReadDeadline(s.deadline))
}

// tell wakes waitChange. s.mu is held.
func (s *Socket) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// waitChange waits for another source of packets than from, or for the end.
func (s *Socket) waitChange(from *os.File) error {
	for {
		s.mu.Lock()
		changed, other, ended := s.changed, s.younger != from, !s.deadline.IsZero()
		s.mu.Unlock()
		switch {
		case other:
			return nil
		case ended:
			return os.ErrDeadlineExceeded
		}
		<-changed
	}
}

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// SetReadDeadline is how quic-go ends a read.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	s.tell()
	if s.younger != nil {
		return s.younger.SetReadDeadline(t)
	}
	return s.UDPConn.SetReadDeadline(t)
}

// Close closes the socket, and the ways to other processes.
func (s *Socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.UDPConn.Close()
	s.deadline = past
	s.tell()
	if s.younger != nil {
		err = errors.Join(err, s.younger.Close())
	}
	if s.older != nil {
		err = errors.Join(err, s.older.Pipe.Close())
	}
	return err
}

// from is where packets come from now: nil for the socket.
func (s *Socket) from() *os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.younger
}

// ReadBatch is what quic-go reads by.
func (s *Socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		from := s.from()
		var n int
		var err error
		if from != nil {
			n, err = readPassed(from, &ms[0])
		} else if n, err = s.reads.ReadBatch(ms, flags); err == nil {
			n = s.keepOwn(ms[:n])
		}
		if errors.Is(err, io.EOF) { // the younger process is gone
			if err = s.waitChange(from); err == nil {
				continue
			}
		}
		switch {
		case s.from() != from && n == 0: // handed over, or taken back
		case err == nil && n == 0: // all were the older process's
		default:
			s.mark(ms[:max(n, 0)])
			return n, err
		}
	}
}

// keepOwn passes the packets of the older process on, and copies the others to
// the front.
func (s *Socket) keepOwn(ms []ipv4.Message) int {
	if s.older == nil {
		return len(ms)
	}
	n := 0
	for i := range ms {
		tag, ok := tagOf(ms[i].Buffers[0][:ms[i].N])
		if ok && tag != s.tag && slices.Contains(s.older.Tags, tag) && s.older.pass(&ms[i]) {
			continue
		}
		if n < i { // quic-go knows its buffers by their place: they stay there
			ms[n].Addr = ms[i].Addr
			ms[n].N = copy(ms[n].Buffers[0], ms[i].Buffers[0][:ms[i].N])
			ms[n].NN = copy(ms[n].OOB, ms[i].OOB[:ms[i].NN])
		}
		n++
	}
	return n
}

// tagOf finds the Tag in a packet's destination connection ID (RFC 8999 §5).
func tagOf(packet []byte) (t Tag, ok bool) {
	at := 1
	if len(packet) > 0 && packet[0]&0x80 != 0 { // version, then the ID's length
		if at = 6; len(packet) < at || packet[5] != idLen {
			return t, false
		}
	}
	if len(packet) < at+idLen {
		return t, false
	}
	return Tag(packet[at:]), true
}
