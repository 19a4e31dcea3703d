package proxy

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
	"genkan/proxy/datagram"
)

// A udpDoor is one UDP listener with its sessions.
type udpDoor struct {
	server *Server
	door   *door
	port   uint16 // that clients write to
	conn   *datagram.Conn

	running  sync.WaitGroup // sessions and the sweeper
	lastFull time.Time      // that a full table was logged; the reader's

	mu       sync.Mutex // guards the fields below
	sessions map[sessionKey]*session
	fresh    *list.List // of *session whose client sent one datagram only, oldest first
	closed   bool
}

// A sessionKey is what makes datagrams one conversation: a client, and the
// address that it wrote to, which the answers have to come from.
type sessionKey struct {
	client netip.AddrPort
	local  netip.Addr
	index  int // of the interface, for link-local clients
}

// serveUDP takes datagrams from d until it is closed; then all its sessions end.
func (s *Server) serveUDP(d *door) {
	conn, err := datagram.Listening(d.udp)
	if err != nil {
		s.log.Error("listener not served", "listener", d.endpoint.String(), "cause", err)
		return
	}
	port := d.udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	u := &udpDoor{server: s, door: d, port: port, conn: conn, sessions: map[sessionKey]*session{}, fresh: list.New()}
	stop := make(chan struct{})
	u.running.Go(func() { u.sweep(stop) })
	for {
		err := conn.Read(u.take)
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			// An ICMP error of an answer, or want of memory: the next read
			// waits for the next datagram.
			s.log.Debug("listener", "listener", d.endpoint.String(), "cause", err)
		}
	}
	close(stop)
	u.closeAll()
	u.running.Wait()
}

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
		one := u.sessionOf(b, i)
		if one == nil {
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
// have it. Nil: the datagram is dropped, in silence.
func (u *udpDoor) sessionOf(b *datagram.Batch, i int) *session {
	client, err := canonicalPeer(b.Peer(i))
	if err != nil {
		// The kernel delivers such packets even to IPv6-only sockets.
		u.server.stats.hostile[1].Add(1)
		return nil
	}
	key := sessionKey{client: client}
	key.local, key.index = b.Local(i)
	if !key.local.IsValid() || key.local.IsMulticast() || key.client.Port() == 0 {
		return nil
	}
	came := key.index
	if !key.client.Addr().IsLinkLocalUnicast() {
		key.index = 0
	}
	u.mu.Lock()
	one := u.sessions[key]
	if one != nil && one.fresh != nil {
		u.fresh.Remove(one.fresh)
		one.fresh = nil
		one.proven.Store(true)
	}
	u.mu.Unlock()
	if one != nil {
		return one
	}
	return u.newSession(key, came)
}

// newSession judges a client that was not known, and opens a session for it.
// Only the reading goroutine calls it.
func (u *udpDoor) newSession(key sessionKey, came int) *session {
	s := u.server
	st := s.state.Load()
	svc := st.services[u.door.endpoint]
	if svc == nil || svc.forward == nil {
		return nil
	}
	f := svc.forward
	client := acl.AddrFrom(key.client.Addr())
	s.stats.accepted[family(client)].Add(1)
	if !u.makeRoom(f) {
		f.count.failed.Add(1)
		if now := time.Now(); now.Sub(u.lastFull) > time.Minute {
			u.lastFull = now
			s.log.Warn("session table full: new clients are dropped", "forward", f.Name, "sessions", f.MaxSessions)
		}
		return nil
	}
	v := s.judge(f.gateway, acl.Client{Addr: client, Tunnel: st.isTunnel(u.door.udp, came)})
	if !v.Allow {
		v.Release()
		return nil
	}
	one := &session{door: u, key: key, forward: f, group: f.groupOf(svc), verdict: v, began: time.Now()}
	if err := one.open(st); err != nil {
		f.count.failed.Add(1)
		s.deny.note("no backend", f.kind, f.name, client, acl.Verdict{Why: err.Error()})
		one.release()
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		one.conn.Close()
		one.release()
		return nil
	}
	u.sessions[key] = one
	one.fresh = u.fresh.PushBack(one)
	u.running.Go(one.answers)
	return one
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
func (u *udpDoor) sweep(stop <-chan struct{}) {
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			u.mu.Lock()
			for _, one := range u.sessions {
				if one.isIdle(now) {
					one.remove("idle")
				}
			}
			u.mu.Unlock()
		}
	}
}

// closeAll ends all sessions.
func (u *udpDoor) closeAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for _, one := range u.sessions {
		one.remove("shutdown")
	}
}

// isTunnel tells whether an interface index is the tunnel's.
func (st *state) isTunnel(udp *net.UDPConn, index int) bool {
	if st.config.TunnelInterface == "" {
		return false
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return false
	}
	tunnel := 0
	controlErr := raw.Control(func(fd uintptr) { tunnel, err = interfaceIndex(int(fd), st.config.TunnelInterface) })
	return err == nil && controlErr == nil && tunnel != 0 && tunnel == index
}

// isRefused tells the error that an ICMP port unreachable brings.
func isRefused(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }
