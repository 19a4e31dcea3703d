// Package pipe moves bytes between a client's and a backend's TCP socket.
//
// Everything that decides something (accept, verdict, PROXY header, SNI,
// choice of a backend) stays outside; this package gets what was decided and
// then carries the stream until it ends:
//
//	engine, err := pipe.New(pipe.Config{})
//	...
//	engine.Relay(client, backend, pipe.Options{
//		Head: header,           // PROXY header and bytes already read
//		Idle: 10 * time.Minute,
//		Done: func(r pipe.Result) { count(r.Up, r.Down, r.Reason) },
//	})
//
// There are three entrances, from the most general to the cheapest. What a new
// connection costs in all (accept, connect, one exchange, close; 2 cores,
// loopback) stands behind each; HAProxy takes 96 µs there:
//
//	Relay    both sockets are connected; the caller's goroutine ends here
//	Forward  only the client is there; the engine connects         (142 µs)
//	Accept   the engine accepts too, and asks a function what to do (90 µs):
//
//	listener, err := engine.Accept(ln, func(c *pipe.Conn) {
//		switch {
//		case denied(c.Client()):
//			c.Refuse()
//		case mustBeReadFirst: // TLS, SNI, a PROXY header from the client
//			conn, err := c.Take()
//			go ...
//		default:
//			c.Forward(pipe.Plan{Backend: backend, Options: ...})
//		}
//	})
//
// # Design
//
//	             accept4            connect
//	client ──────────┐                 ┌────────── backend
//	   │        ┌────┴─────────────────┴────┐         │
//	   └──read──┤ loop: one epoll, one      ├──write──┘
//	            │ scratch buffer, one wheel │
//	            └───────────────────────────┘   × Config.Loops
//
// A loop per core owns an epoll set, edge-triggered; both sockets of a stream
// belong to one loop, are registered once, and their state is touched by that
// loop only, so the data path has no lock. An idle stream is one [Stream]
// value: no goroutine and no buffer.
//
// Bytes pass through the loop's scratch buffer, which stays in the cache. After
// a short read the socket is known to be empty, so no second read is spent on
// EAGAIN (epoll(7)). What the other side does not take is kept in a buffer
// borrowed from the loop, and the source is not read again before that is gone:
// this is the back-pressure, and bounds the memory of a direction to
// [Config.Buffer]. A direction that keeps filling the buffer is bulk: it goes on
// by splice(2) through a borrowed pipe, so its bytes never enter this process.
// Where no pipe can be had (EMFILE), it goes on as before.
//
// # How streams end
//
// An end of file from one side becomes one for the other (half-close), and the
// stream ends in [EOF] after both. Everything else must be visible to the side
// that did not cause it, since bytes may be missing: a reset from one side, a
// time limit, [Stream.Cut] and [Engine.Close] reset the sockets (SO_LINGER 0), so
// that nobody takes a cut stream for a whole one.
//
// Urgent data stays in line (SO_OOBINLINE), RFC 6093 §4: its byte is relayed
// where it stands, the urgent pointer is not. Sockets with urgent data are read
// until EAGAIN and not spliced, because the kernel ends reads at the mark and
// refuses to splice across it.
//
// # Waiting
//
// A loop with work waits in epoll_pwait by a raw system call, for ≤ 10 ms:
// telling the Go scheduler of each wait costs a third more. It keeps its P
// meanwhile, so [New] raises GOMAXPROCS to Loops+2; the runtime's preemption
// signal interrupts the wait, so garbage collection does not suffer. A loop
// without work waits by an ordinary system call.
//
// Each loop has its thread for itself, in the scheduling class for batches
// (SCHED_BATCH): with all cores busy, those whom it wakes and who wake it finish
// what they are at first, so that every wait brings more events.
//
// # Other connections
//
// Connections other than *net.TCPConn (TLS) are relayed by two goroutines with
// the same limits, ends and results.
package pipe
