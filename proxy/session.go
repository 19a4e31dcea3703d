package proxy

import (
	"container/list"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"genkan/acl"
	"genkan/proxy/datagram"
	"genkan/proxy/pool"
	"genkan/proxy/sni"
)

// A session is one client's conversation with a UDP backend, over a socket of
// its own: by that the answers are told apart.
type session struct {
	door    *udpDoor
	key     sessionKey
	forward *forward
	group   *group
	began   time.Time
	tunnel  bool // its client came by the tunnel
	lease   *lease
	source  source
	pooled  *pool.Lease // nil: source is not of a pool
	conn    *datagram.Socket
	head    []byte // announcement before each datagram
	stream  *stream
	idle    time.Duration

	judging  sync.Mutex // guards the next two
	verdict  acl.Verdict
	released bool // nothing is to be held any more

	fresh  *list.Element // in udpDoor.fresh; guarded by udpDoor.mu
	proven atomic.Bool   // the client sent a second datagram
	last   atomic.Int64  // of any datagram, Unix nanoseconds
	asked  atomic.Int64  // datagrams of the client
	told   atomic.Int64  // datagrams of the backend
	in     atomic.Int64  // bytes of the client
	out    atomic.Int64  // bytes to the client
	muted  atomic.Int64  // datagrams that the amplification guard kept back
	limit  atomic.Int64  // bytes of an answer, of protocol "dns"

	reason  string                  // why it ended; guarded by udpDoor.mu
	refused atomic.Pointer[refusal] // the backend cannot be reached; nil: nobody said so
}

// amplification is how many times the bytes of a client's first datagram it is
// answered with before it sends a second one. A forged source gains little
// then; DNS has limits of its own.
const amplification = 3

// reasonHanded is the end of a session that goes on in another process.
const reasonHanded = "handed over"

// answeredIdle is how long a DNS session whose questions are all answered is
// kept for repeated answers.
const answeredIdle = time.Second

// begin chooses the backend, opens the session's socket and enlists it. After
// an error the caller releases the session.
func (one *session) begin(st *state) error {
	if err := one.introduce(st); err != nil {
		return err
	}
	client := acl.AddrFrom(one.key.client.Addr())
	var err error
	if one.lease, err = one.group.pick(client, nil); err != nil {
		return err
	}
	if err := st.guard.check("udp", one.lease.addr); err != nil {
		return fmt.Errorf("backend %s: %w", one.lease.text, err)
	}
	return one.start(func() (*datagram.Socket, error) {
		return one.door.server.udp.Connect(one.lease.addr, datagram.Source{Addr: one.source.addr, Transparent: one.source.transparent}, one)
	})
}

// start gets the session's socket and enlists it.
func (one *session) start(socket func() (*datagram.Socket, error)) error {
	one.idle = one.forward.udpIdle
	one.last.Store(time.Now().UnixNano())
	u := one.door
	u.open.Add(1)
	conn, err := socket()
	if err != nil {
		u.open.Done()
		return fmt.Errorf("backend %s: %w", one.lease.text, err)
	}
	one.stream = &stream{client: acl.AddrFrom(one.key.client.Addr()), network: "udp", moved: one}
	one.stream.isFor(&one.forward.gateway)
	one.stream.backend.Store(one.lease.member)
	one.stream.cutWith(conn.Close)
	u.server.conns.add(one.stream)
	if !u.enlist(one, conn) {
		conn.Close()
	}
	return nil
}

// introduce finds out how the backend gets to know the client.
func (one *session) introduce(st *state) (err error) {
	f, client := one.forward, acl.AddrFrom(one.key.client.Addr())
	if one.source, one.pooled, err = st.sourceOf(f.Source, f.Pool, client); err != nil {
		return err
	}
	if one.pooled == nil && f.needsPool(client) {
		if one.pooled, err = st.lease(f.Pool, client); err != nil {
			return err
		}
	}
	if len(f.Announce) == 0 {
		return nil
	}
	local := netip.AddrPortFrom(one.key.local, one.door.port)
	// §2 of proxy-protocol.txt: over UDP, each datagram has the header.
	one.head, err = f.header(introduction{"udp", one.key.client, local, one.pooled, sni.Hello{}, newID()})
	return err
}

// again notes that the client came back. udpDoor.mu is held.
func (one *session) again() {
	one.last.Store(time.Now().UnixNano())
	if one.fresh != nil {
		one.door.fresh.Remove(one.fresh)
		one.fresh = nil
		one.proven.Store(true)
	}
}

// received notes what the client sent.
func (one *session) received(bytes, count int) {
	one.in.Add(int64(bytes))
	if one.asked.Add(int64(count)) > 1 {
		one.proven.Store(true)
	}
}

// toBackend passes datagrams of the client on. One that is lost is lost: that
// is what UDP clients are made for.
func (one *session) toBackend(packets []datagram.Packet) {
	_, err := one.conn.Write(packets, datagram.Route{})
	one.heed(err)
}

// Bytes implements mover.
func (one *session) Bytes() (up, down int64) { return one.in.Load(), one.out.Load() }

// heed ends the session where an ICMP error says that the backend cannot be
// reached. The kernel tells it once, to the next read or write.
func (one *session) heed(err error) {
	if r := refusalOf(err); r != nil {
		one.refused.Store(r)
		one.unlist("refused")
	}
}

// Datagrams implements datagram.Handler: the backend has answered.
func (one *session) Datagrams(b *datagram.Batch) {
	one.toClient(b, datagram.Route{To: one.key.client, From: one.key.local, Interface: one.key.index})
}

// Failed implements datagram.Handler.
func (one *session) Failed(err error) { one.heed(err) }

// Closed implements datagram.Handler: the session is over.
func (one *session) Closed() {
	one.finish()
	one.door.open.Done()
}

// toClient passes a batch of the backend on.
func (one *session) toClient(b *datagram.Batch, route datagram.Route) {
	var packets [16]datagram.Packet
	n := 0
	for i := range b.Len() {
		one.told.Add(int64(b.Count(i)))
		payload := one.mayTell(b.Payload(i), b.Segment(i))
		if payload == nil {
			one.muted.Add(int64(b.Count(i)))
			continue
		}
		payload, apart := one.fit(payload, b.Segment(i), route)
		if apart {
			continue
		}
		one.out.Add(int64(len(payload)))
		packets[n] = datagram.Packet{Payload: payload, Segment: b.Segment(i)}
		n++
	}
	one.last.Store(time.Now().UnixNano())
	one.lease.succeeded()
	one.door.conn.Write(packets[:n], route)
}

// mayTell is the amplification guard: it gives what of a datagram, or of a
// train of datagrams of segment bytes, the client may have; nil for nothing.
func (one *session) mayTell(payload []byte, segment int) []byte {
	left := int(amplification*one.in.Load() - one.out.Load())
	switch {
	case one.proven.Load() || one.forward.Protocol == "dns" || len(payload) <= left:
		return payload
	case 0 < segment && segment <= left:
		return payload[:left/segment*segment]
	}
	return nil
}

// isIdle tells that the session may end at now.
func (one *session) isIdle(now time.Time) bool {
	limit := one.idle
	if one.forward.Protocol == "dns" && one.told.Load() >= one.asked.Load() {
		limit = min(limit, answeredIdle)
	}
	return now.Sub(time.Unix(0, one.last.Load())) > limit
}

// remove takes the session out of the table and closes its socket.
// udpDoor.mu is held.
func (one *session) remove(reason string) {
	if one.door.sessions[one.key] != one {
		return
	}
	delete(one.door.sessions, one.key)
	if one.fresh != nil {
		one.door.fresh.Remove(one.fresh)
		one.fresh = nil
	}
	one.reason = reason
	one.conn.Close()
}

func (one *session) unlist(reason string) {
	one.door.mu.Lock()
	defer one.door.mu.Unlock()
	one.remove(reason)
}

// release gives back what open took.
func (one *session) release() {
	one.judging.Lock()
	one.verdict.Release()
	one.released = true
	one.judging.Unlock()
	if one.pooled != nil {
		one.pooled.Release()
	}
	if one.lease != nil {
		one.lease.done()
	}
	if one.stream != nil {
		one.door.server.conns.remove(one.stream)
	}
}

// finish ends the session for good: count, log, release.
func (one *session) finish() {
	one.unlist("cut") // unless it is out already
	s, f := one.door.server, one.forward
	f.count.up.Add(one.in.Load())
	f.count.down.Add(one.out.Load())
	defer one.release()
	if r := one.refused.Load(); r != nil {
		err := errors.New(r.text)
		one.group.failed(one.lease.member, err)
		f.count.failed.Add(1)
		why := fmt.Sprintf("backend %s: %s after %s", one.lease.text, err, since(one.began))
		s.deny.note("no backend", f.kind, f.name, acl.AddrFrom(one.key.client.Addr()), acl.Verdict{Why: why})
		one.logSession(502, why)
		s.unreachable.tell(r, one.key.client, netip.AddrPortFrom(one.key.local, one.door.port))
		return
	}
	if one.reason == reasonHanded {
		return // another process will tell
	}
	one.logSession(200, one.reason)
	attrs := []any{
		"forward", f.Name, "client", one.key.client.Addr(), "backend", one.lease.text,
		"up", one.in.Load(), "down", one.out.Load(), "lasted", since(one.began), "end", one.reason,
	}
	if one.source.addr.IsValid() {
		attrs = append(attrs, "source", one.source.addr)
	}
	if muted := one.muted.Load(); muted > 0 {
		attrs = append(attrs, "muted", muted)
	}
	if f.Protocol == "dns" {
		s.log.Debug("session", attrs...)
		return
	}
	s.log.Info("session", attrs...)
}
