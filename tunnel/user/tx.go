package user

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"genkan/tunnel/icmp"
	"genkan/tunnel/ingress"
)

const (
	txPackets = 8 // packets read from the TUN device before a batch must leave
	// readLen holds a virtio_net_hdr and the largest packet the device gives.
	readLen = vnetLen + 65536
)

// A sender takes packets from the TUN device, judges them, cuts super-packets
// and sends them to where their address says. All its memory is allocated once.
type sender struct {
	tun   tunFile // and reader
	stop  *alarm
	check *ingress.Checker
	count *Counters
	ip    ipHeader // but for destination, TOS and DF
	allDF bool     // RFC 5969 §9.2: the source address is an anycast one

	exit
	id   uint16 // of the last outer packet
	last *outlet

	source netip.Addr
	limit  *icmp.Limiter
	clamp  int // MTU for TCP's MSS
	out    [vnetLen + minMTU]byte

	pkts [txPackets][]byte
	lens [txPackets]int
}

// An exit is all ways out of a tunnel.
type exit struct {
	small  *outlet // raw, DF clear: up to 1280 bytes of inner packet, which no path may refuse
	large  *outlet // raw, with a header of ours that has DF set: the others
	packet *outlet // packet socket, where the next hop is known
	hops   *hops
	paths  *paths
}

func newSender(tun tunFile, stop *alarm, cfg Config, count *Counters, out exit) *sender {
	s := &sender{
		tun: tun, stop: stop, check: cfg.Check, count: count,
		ip: ipHeader{src: cfg.Local.As4(), ttl: byte(cfg.TTL)}, allDF: cfg.Anycast,
		exit: out, last: out.small,
		id:     uint16(rand.Uint32()), // another one than before a restart
		source: cfg.Address, limit: icmp.NewLimiter(), clamp: cfg.MTU,
	}
	for i := range s.pkts {
		s.pkts[i] = make([]byte, readLen)
	}
	return s
}

// read takes what is there, up to txPackets, which may be nothing.
func (s *sender) read() (n int, err error) {
	for n < txPackets {
		size, errno := s.tun.read(s.pkts[n])
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN && n > 0:
			return n, nil
		case errno == unix.EAGAIN:
			return 0, s.stop.wait(s.tun.fd, unix.POLLIN)
		case errno != 0:
			return n, os.NewSyscallError("read tun", errno)
		}
		s.lens[n] = size
		n++
	}
	return n, nil
}

// run sends until the alarm rings.
func (s *sender) run() error {
	for {
		n, err := s.read()
		now := time.Now()
		for i := range n {
			s.forward(s.pkts[i][:s.lens[i]], now)
		}
		if err := errors.Join(err, s.small.flush(), s.large.flush(), s.packet.flush()); err != nil {
			return err
		}
	}
}

// forward judges one packet of the device and puts it, or its segments, into
// a batch.
func (s *sender) forward(buf []byte, now time.Time) {
	if len(buf) < vnetLen {
		return
	}
	pkt := buf[vnetLen:]
	dst, reason := s.check.Egress(pkt)
	if reason != ingress.Pass {
		s.count.Reasons[reason].Add(1)
		if typ, code, ok := reason.Answer(); ok {
			s.answer(typ, code, 0, pkt, now)
		}
		return
	}
	sup, ok := parseSuper(parseVnet(buf), pkt)
	if !ok {
		s.count.Faults[BadOffload].Add(1)
		return
	}
	size := segmentLen(&sup)
	ip := s.ip
	ip.dst, ip.tos = dst, ingress.Encapsulate(pkt[0]<<4|pkt[1]>>4)
	ip.df = s.allDF || size > minMTU
	clampMSS(pkt, s.clamp, sup.hdr)
	to, ok := s.hops.find(dst, now)
	if size > minMTU {
		if mtu := s.narrowest(dst, to.mtu, now); mtu > 0 && size > mtu {
			s.count.Faults[TooBig].Add(1)
			s.answer(icmp.TypePacketTooBig, 0, uint32(mtu), pkt, now)
			return
		}
	}
	switch {
	case ok && outerLen+size <= to.mtu:
		s.use(s.packet)
		for i := range sup.count() {
			s.id++
			s.packet.addOuter(&sup, i, ip, s.id, &to)
		}
	case ip.df:
		s.use(s.large)
		for i := range sup.count() {
			s.id++
			s.large.addOuter(&sup, i, ip, s.id, nil)
		}
	default:
		s.use(s.small)
		for i := range sup.count() {
			s.small.addRaw(&sup, i, dst, ip.tos)
		}
	}
}

// narrowest returns what the path to dst carries of an inner packet, as far as
// it is known, 1280 at least; 0: nothing is known.
func (s *sender) narrowest(dst [4]byte, link int, now time.Time) int {
	mtu := s.paths.mtu(dst, now)
	if link > 0 && (mtu == 0 || link-outerLen < mtu) {
		mtu = link - outerLen
	}
	if mtu == 0 {
		return 0
	}
	return max(mtu, minMTU)
}

// answer tells the sender of pkt, by an ICMPv6 error, why it did not leave.
func (s *sender) answer(typ, code byte, param uint32, pkt []byte, now time.Time) {
	if !s.limit.Allow([16]byte(pkt[8:24]), now) {
		s.count.Reasons[ingress.ICMPLimited].Add(1)
		return
	}
	if out := icmp.AppendError(s.out[:vnetLen], s.source, typ, code, param, pkt); len(out) > vnetLen {
		s.tun.message(out, s.count)
	}
}

// clampMSS lowers what a SYN announces to what fits the tunnel: where ICMP is
// filtered, nobody would learn it otherwise.
func clampMSS(pkt []byte, mtu int, v vnetHdr) {
	const syn = 0x02
	if len(pkt) >= ipv6Len+tcpMin && pkt[6] == protoTCP && pkt[ipv6Len+13]&syn != 0 {
		icmp.ClampMSS(pkt, mtu, v.flags&vnetNeedsCsum != 0)
	}
}

// use sends what waits in another outlet first: packets stay in order.
func (s *sender) use(o *outlet) {
	if s.last != o && s.last.n > 0 && s.last.fault == nil {
		s.last.fault = s.last.flush()
	}
	s.last = o
}

const minMTU = 1280 // RFC 8200 §5

// segmentLen is the length of the longest packet that sup becomes.
func segmentLen(sup *super) int {
	if sup.hdr.gsoSize == 0 {
		return len(sup.pkt)
	}
	return min(len(sup.pkt), sup.head+int(sup.hdr.gsoSize))
}
