package pipe

import (
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Reason says why a stream ended. The zero Reason is no end at all.
type Reason uint8

const (
	EOF         Reason = iota + 1 // both sides sent all they had
	Reset                         // Side reset its connection
	Idle                          // no byte moved for Options.Idle
	Lifetime                      // Options.Lifetime is over
	Cut                           // Stream.Cut
	Shutdown                      // Engine.Close
	Failed                        // Side's socket failed otherwise: Result.Err
	Unreachable                   // the backend could not be connected: Result.Err
	Refused                       // the Plan named no backend
)

// String returns the reason in one lower-case word, as logs and metrics show it.
func (r Reason) String() string {
	names := [...]string{"none", "eof", "reset", "idle", "lifetime", "cut", "shutdown", "failed", "unreachable", "refused"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// A Side is the end of a stream that caused its end.
type Side uint8

const (
	Neither Side = iota // a limit or the engine did it, or (EOF) both
	Client
	Backend
)

// String returns "client", "backend" or "neither".
func (s Side) String() string {
	switch s {
	case Client:
		return "client"
	case Backend:
		return "backend"
	}
	return "neither"
}

// A Result is how a stream ended.
type Result struct {
	Up     int64 // bytes sent to the backend, Options.Head included
	Down   int64 // bytes sent to the client
	Reason Reason
	Side   Side  // who caused it; for EOF, who ended first
	Err    error // the system's error for Reset, Failed and Unreachable, else nil
}

// Options are the limits of one stream.
type Options struct {
	// Head is sent to the backend before anything else: a PROXY header, then
	// bytes already read from the client. It is not changed, and must not be
	// until the stream ends. Client bytes that are there already leave in the
	// same segment. Nil is nothing.
	Head []byte

	// Idle ends the stream when no byte moved in either direction for that
	// long. Zero means DefaultIdle, negative no limit. Limits are kept to
	// 100 ms, late rather than early.
	Idle time.Duration

	// Lifetime ends the stream that long after its start, however busy.
	// Zero or negative means no limit.
	Lifetime time.Duration

	// Done, unless nil, is called exactly once, after both sockets are closed.
	// It runs on the loop that serves thousands of other streams, or on the
	// caller's goroutine: it must not block.
	Done func(Result)
}

// DefaultIdle is the idle limit of a stream that names none: an SSH session
// without keepalives should survive a lunch, a vanished client should not stay.
const DefaultIdle = time.Hour

// DefaultConnect is how long the engine waits for a backend to answer.
const DefaultConnect = 10 * time.Second

// A Plan says where a client's stream goes. The zero Plan refuses it: the client
// is reset.
type Plan struct {
	// Backend is the address to connect to. Invalid: refuse.
	Backend netip.AddrPort

	// Source is the address that the backend sees; the port is the kernel's
	// choice unless given. Invalid: the kernel's choice. An address that is not
	// this host's needs Transparent, or an AnyIP route.
	Source netip.AddrPort

	// Transparent sets IP_TRANSPARENT on the backend's socket.
	Transparent bool

	// Connect bounds the wait for the backend. Zero or negative means
	// DefaultConnect.
	Connect time.Duration

	// Failed, unless nil, is asked for another plan when the backend cannot be
	// connected: nothing was sent yet. A zero Plan, or nil here, ends the
	// stream with Unreachable and err. It must not block. The new plan's
	// Options replace the old ones.
	Failed func(err error) Plan

	// Connected, unless nil, is told how long the backend took to take the
	// connection. It must not block.
	Connected func(took time.Duration)

	Options
}

// A Stream is a relay under way. Its methods may be called at any time and from
// any goroutine, also after its end.
type Stream struct {
	engine *Engine
	loop   *loop     // nil: relayed by goroutines
	slow   *slowPair // nil: relayed by the loop

	// All below belongs to the loop.
	ends [2]end   // client, backend
	half [2]half  // client→backend, backend→client
	dial *dialing // nil once the backend is connected
	done func(Result)

	next, prev *Stream // in the wheel's slot
	idle       uint32  // ticks, 0: none
	life       uint32  // tick of the end, 0: none
	last       uint32  // tick of the last byte
	slot       int32   // of the wheel, -1: none
	index      uint32  // in the loop's table
	first      Side    // who sent EOF first
	queued     bool    // in loop.again
	over       bool
}

// Bytes returns how many bytes were sent to the backend and to the client so far.
func (s *Stream) Bytes() (up, down int64) {
	return s.half[0].moved.Load(), s.half[1].moved.Load()
}

// Cut resets both sides. The stream ends in [Cut], soon, unless it ended before.
func (s *Stream) Cut() {
	switch {
	case s.slow != nil:
		s.slow.abort(Result{Reason: Cut})
	case s.loop != nil:
		s.loop.post(s)
	}
}

// An end is one socket of a stream.
type end struct {
	fd    int32
	flags endFlags
}

type endFlags uint16

const (
	readable endFlags = 1 << iota // may have bytes to read
	writable                      // may take bytes
	hangup                        // EPOLLRDHUP was seen: read to the end
	urgent                        // EPOLLPRI was seen: short reads mean nothing
	broken                        // EPOLLERR or EPOLLHUP was seen
	ended                         // its EOF was read
	shut                          // we sent it our EOF
	added                         // in the epoll set
	mute                          // nothing was written to it yet
	nagled                        // TCP_NODELAY is still to be set
)

func (e *end) is(f endFlags) bool { return e.flags&f != 0 }

// speaks is called before each write. The first one is never held back by Nagle's
// rule, nor is the end: TCP_NODELAY is for those who write twice.
func (e *end) speaks() {
	switch {
	case e.is(mute):
		e.flags &^= mute
	case e.is(nagled):
		e.flags &^= nagled
		setInt(e.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
}

// A half is one direction of a stream.
type half struct {
	rest   []byte       // read, not yet written
	buffer *buffer      // what rest lies in; nil: Options.Head
	pipe   *pipePair    // borrowed while it holds bytes
	moved  atomic.Int64 // bytes written
	streak uint8        // full reads in a row
	bulk   bool         // by splice
}

func (h *half) pending() bool { return len(h.rest) > 0 || h.pipe != nil && h.pipe.n > 0 }
