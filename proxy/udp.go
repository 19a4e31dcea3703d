package proxy

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"genkan/acl"
	"genkan/proxy/datagram"
	"genkan/proxy/dns"
)

// A udpDoor is one UDP listener with its sessions.
type udpDoor struct {
	server *Server
	door   *door
	port   uint16 // that clients write to
	conn   *datagram.Socket
	ready  chan struct{} // closed once conn is there
	ended  chan struct{} // closed when conn is

	lastFull time.Time      // that a full table was logged; of conn's loop
	open     sync.WaitGroup // sessions

	mu       sync.Mutex // guards the fields below
	sessions map[sessionKey]*session
	fresh    *list.List // of *session whose client sent one datagram only, oldest first
	closed   bool
	handed   bool // sessions go on in another process
}

// A sessionKey is what makes datagrams one conversation: a client, and the
// address that it wrote to, which the answers have to come from.
type sessionKey struct {
	client netip.AddrPort
	local  netip.Addr
	index  int // of the interface, for link-local clients
}

// serveUDP begins to take datagrams from d. s.mu is held.
func (s *Server) serveUDP(d *door) error {
	if s.udp == nil {
		loops, err := datagram.NewLoops(0)
		if err != nil {
			return err
		}
		s.udp = loops
	}
	u := &udpDoor{
		server: s, door: d, port: d.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		ready: make(chan struct{}), ended: make(chan struct{}),
		sessions: map[sessionKey]*session{}, fresh: list.New(),
	}
	conn, err := s.udp.Listen(d.udp, u)
	if err != nil {
		return err
	}
	u.conn, d.datagrams, d.sessions = conn, conn, u
	for _, p := range s.parcelsOf(d.endpoint) {
		if p.Session == nil {
			p.File.Close()
		} else if err := u.adopt(p.Session, p.File); err != nil {
			s.log.Info("session not taken over", "forward", p.Session.Forward, "client", p.Session.Client.Addr(), "cause", err)
		}
	}
	close(u.ready)
	s.running.Go(u.keep)
	return nil
}

// keep ends idle sessions until the listener is closed, then all.
func (u *udpDoor) keep() {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-u.ended:
			u.closeAll()
			u.open.Wait()
			return
		case now := <-ticker.C:
			u.sweep(now)
		}
	}
}

// Datagrams implements datagram.Handler: clients have sent something.
func (u *udpDoor) Datagrams(b *datagram.Batch) {
	<-u.ready
	u.take(b)
}

// Failed implements datagram.Handler.
func (u *udpDoor) Failed(err error) {
	u.server.log.Debug("listener", "listener", u.door.endpoint.String(), "cause", err)
}

// Closed implements datagram.Handler.
func (u *udpDoor) Closed() { close(u.ended) }

// take gives each datagram of a batch to its session. Datagrams that follow
// each other in one session go to its backend in one call.
func (u *udpDoor) take(b *datagram.Batch) {
	var current *session
	var packets [16]datagram.Packet
	n := 0
	flush := func() {
		if n > 0 {
			current.toBackend(packets[:n])
		}
		n = 0
	}
	for i := range b.Len() {
		one, fresh := u.sessionOf(b, i)
		if one == nil {
			continue
		}
		if one.forward.Protocol == "dns" {
			flush()
			one.takeQueries(b.Payload(i), b.Segment(i), fresh)
			continue
		}
		if one != current || n == len(packets) {
			flush()
			current = one
		}
		packets[n] = datagram.Packet{Head: one.head, Payload: b.Payload(i), Segment: b.Segment(i)}
		n++
		one.received(len(b.Payload(i)), b.Count(i))
	}
	flush()
}

// sessionOf finds the session of datagram i, or opens one where the client may
// have it, which is fresh then. Nil: the datagram is dropped, in silence.
func (u *udpDoor) sessionOf(b *datagram.Batch, i int) (one *session, fresh bool) {
	client, err := canonicalPeer(b.Peer(i))
	if err != nil {
		// The kernel delivers such packets even to IPv6-only sockets.
		u.server.stats.hostile[1].Add(1)
		return nil, false
	}
	key := sessionKey{client: client}
	key.local, key.index = b.Local(i)
	if !key.local.IsValid() || key.local.IsMulticast() || key.client.Port() == 0 {
		return nil, false
	}
	came := key.index
	if !key.client.Addr().IsLinkLocalUnicast() {
		key.index = 0
	}
	u.mu.Lock()
	one = u.sessions[key]
	if one != nil {
		one.again() // under the lock: sweep must not take it for idle any more
	}
	u.mu.Unlock()
	if one != nil {
		return one, false
	}
	return u.newSession(key, came, b.Payload(i)), true
}

// newSession judges a client that was not known, and opens a session for it.
// Only conn's loop calls it.
func (u *udpDoor) newSession(key sessionKey, came int, payload []byte) *session {
	s := u.server
	st := s.state.Load()
	svc := st.services[u.door.endpoint]
	if svc == nil || svc.forward == nil {
		return nil
	}
	f := svc.forward
	client := acl.AddrFrom(key.client.Addr())
	s.stats.accepted[family(client)].Add(1)
	if f.Protocol == "dns" && dns.IsAnswer(payload) { // two servers that answer each other's answers never end
		f.count.denied.Add(1)
		s.deny.note("denied", f.kind, f.name, client, acl.Verdict{Why: "an answer, where clients ask"})
		return nil
	}
	if !u.makeRoom(f) {
		f.count.failed.Add(1)
		if now := time.Now(); now.Sub(u.lastFull) > time.Minute {
			u.lastFull = now
			s.log.Warn("session table full: new clients are dropped", "forward", f.Name, "sessions", f.MaxSessions)
		}
		return nil
	}
	who := acl.Client{Addr: client, Tunnel: st.isTunnel(came)}
	v := s.judge(f.gateway, who)
	if !v.Allow {
		v.Release()
		return nil
	}
	one := &session{door: u, key: key, forward: f, group: f.groupOf(svc), verdict: v, began: time.Now(), tunnel: who.Tunnel}
	if err := one.begin(st); err != nil {
		f.count.failed.Add(1)
		s.deny.note("no backend", f.kind, f.name, client, acl.Verdict{Why: err.Error()})
		one.release()
		return nil
	}
	return one
}

// enlist makes a session whose socket is open one of u's. It is false when u
// has ended.
func (u *udpDoor) enlist(one *session, conn *datagram.Socket) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	one.conn = conn
	if u.closed {
		one.reason = "shutdown"
		return false
	}
	u.sessions[one.key] = one
	one.fresh = u.fresh.PushBack(one)
	return true
}

// makeRoom tells whether there is room for one more session. At the bound the
// oldest one whose client sent a single datagram gives way: those cost nothing
// to forge. Clients that came back keep theirs.
func (u *udpDoor) makeRoom(f *forward) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.sessions) < f.MaxSessions {
		return true
	}
	oldest := u.fresh.Front()
	if oldest == nil {
		return false
	}
	oldest.Value.(*session).remove("evicted")
	return true
}

// sweep ends sessions that were idle for too long.
func (u *udpDoor) sweep(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.sessions {
		if one.isIdle(now) {
			one.remove("idle")
		}
	}
}

// closeAll ends all sessions.
func (u *udpDoor) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	reason := "shutdown"
	if u.handed {
		reason = reasonHanded
	}
	for _, one := range u.sessions {
		one.remove(reason)
	}
}
