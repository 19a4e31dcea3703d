package user

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	maxHops = 4096
	// hopFresh is how long a next hop is used before it is looked up again.
	// The packet that asks goes by the raw socket: so the kernel sees that the
	// neighbour is in use, and asks for it again in time.
	hopFresh = time.Second
	// hopStale is when one that could not be looked up again is given up.
	hopStale = 5 * time.Second
)

// A hop is where packets to one IPv4 destination leave, for sending without the
// kernel's IPv4 stack. The zero hop is unknown.
type hop struct {
	index   int32 // of the interface
	mtu     int
	macLen  uint8
	mac     [8]byte // of the neighbour
	asked   time.Time
	learned time.Time
}

// hops knows the next hops in use. What it does not know it learns beside, and
// the packet goes by the raw socket meanwhile.
type hops struct {
	sock *nl.NetlinkSocket
	nl   *netlink.Handle
	ask  chan [4]byte

	mu    sync.Mutex // guards known
	known map[[4]byte]hop
}

// newHops opens its netlink sockets in the namespace of the calling thread.
func newHops() (*hops, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	s, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, err
	}
	timeout := unix.NsecToTimeval(int64(time.Second))
	if err := s.SetReceiveTimeout(&timeout); err != nil {
		h.Close()
		s.Close()
		return nil, err
	}
	return &hops{sock: s, nl: h, ask: make(chan [4]byte, 64), known: make(map[[4]byte]hop)}, nil
}

func (h *hops) close() {
	h.nl.Close()
	h.sock.Close()
}

// find returns the next hop towards dst, or false where the raw socket has to
// be used.
func (h *hops) find(dst [4]byte, now time.Time) (hop, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.known[dst]
	if ok && now.Sub(p.asked) < hopFresh {
		return p, p.index != 0
	}
	if !ok && len(h.known) >= maxHops {
		h.evict(now)
	}
	select {
	case h.ask <- dst:
		p.asked = now
		h.known[dst] = p
	default: // too many questions: the raw socket goes on
	}
	return hop{}, false
}

// evict makes room: what has not been learnt lately goes, and something else
// where all is in use. Called with mu held.
func (h *hops) evict(now time.Time) {
	for dst, p := range h.known {
		if now.Sub(p.learned) > hopStale {
			delete(h.known, dst)
		}
	}
	for dst := range h.known {
		if len(h.known) < maxHops {
			return
		}
		delete(h.known, dst)
	}
}

// run answers the questions of find until ctx ends.
func (h *hops) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case dst := <-h.ask:
			p, err := h.resolve(dst)
			now := time.Now()
			h.mu.Lock()
			was := h.known[dst]
			p.asked, p.learned = was.asked, now
			if err != nil && now.Sub(was.learned) < hopStale {
				p = was // the neighbour is just being asked for
			}
			h.known[dst] = p
			h.mu.Unlock()
		}
	}
}

var errNoHop = errors.New("no next hop that can be used")

// resolve asks the kernel for the route to dst and the neighbour there.
func (h *hops) resolve(dst [4]byte) (hop, error) {
	routes, err := h.nl.RouteGet(net.IP(dst[:]))
	if err != nil || len(routes) == 0 {
		return hop{}, errors.Join(errNoHop, err)
	}
	r := routes[0]
	link, err := h.nl.LinkByIndex(r.LinkIndex)
	if err != nil {
		return hop{}, err
	}
	a := link.Attrs()
	p := hop{index: int32(a.Index), mtu: a.MTU}
	if r.Type != unix.RTN_UNICAST || a.Flags&net.FlagLoopback != 0 {
		return hop{}, errNoHop
	}
	if len(a.HardwareAddr) == 0 || a.RawFlags&unix.IFF_NOARP != 0 {
		return p, nil // point to point
	}
	via := r.Gw
	if via == nil {
		via = dst[:]
	}
	mac, err := h.neighbour(a.Index, via.To4())
	if err != nil || len(mac) != len(a.HardwareAddr) || len(mac) > len(p.mac) {
		return hop{}, errors.Join(errNoHop, err)
	}
	p.macLen = uint8(copy(p.mac[:], mac))
	return p, nil
}

// neighbour asks for one entry of the neighbour table.
func (h *hops) neighbour(index int, ip net.IP) (net.HardwareAddr, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: h.sock}}
	req.AddData(&netlink.Ndmsg{Family: unix.AF_INET, Index: uint32(index)})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, ip))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		n, err := netlink.NeighDeserialize(m)
		if err != nil {
			return nil, err
		}
		const usable = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE | netlink.NUD_PERMANENT
		if n.State&usable != 0 {
			return n.HardwareAddr, nil
		}
	}
	return nil, errNoHop
}
