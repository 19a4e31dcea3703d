package user

import (
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
	tun   syscall.RawConn
	check *ingress.Checker
	count *Counters
	ip    ipHeader // but for destination, TOS and DF
	allDF bool     // RFC 5969 §9.2: the source address is an anycast one

	small  *outlet // raw, DF clear: up to 1280 bytes of inner packet, which no path may refuse
	large  *outlet // raw, DF set: the others
	packet *outlet // packet socket, where the next hop is known
	hops   *hops
	id     uint16 // of the last outer packet
	last   *outlet

	pkts [txPackets][]byte
	lens [txPackets]int
	n    int
	err  error
	read func(fd uintptr) bool
}

func newSender(tun *os.File, cfg Config, count *Counters, small, large, packet *outlet, hops *hops) (*sender, error) {
	conn, err := tun.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &sender{
		tun: conn, check: cfg.Check, count: count,
		ip: ipHeader{src: cfg.Local.As4(), ttl: byte(cfg.TTL)}, allDF: cfg.Anycast,
		small: small, large: large, packet: packet, hops: hops, last: small,
		id: uint16(rand.Uint32()), // another one than before a restart
	}
	for i := range s.pkts {
		s.pkts[i] = make([]byte, readLen)
	}
	s.read = s.readSome
	return s, nil
}

// readSome reads what is there, up to txPackets; false asks the poller to wait.
func (s *sender) readSome(fd uintptr) bool {
	s.n, s.err = 0, nil
	for s.n < txPackets {
		n, err := unix.Read(int(fd), s.pkts[s.n])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return s.n > 0
		case err != nil:
			s.err = os.NewSyscallError("read tun", err)
			return true
		}
		s.lens[s.n] = n
		s.n++
	}
	return true
}

// run sends until the device's read deadline passes or it is closed.
func (s *sender) run() error {
	for {
		if err := s.tun.Read(s.read); err != nil {
			return err
		}
		now := time.Now()
		for i := range s.n {
			s.forward(s.pkts[i][:s.lens[i]], now)
		}
		if err := errors.Join(s.small.flush(), s.large.flush(), s.packet.flush()); err != nil {
			return err
		}
		if s.err != nil {
			return s.err
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
	to, ok := s.hops.find(dst, now)
	switch {
	case ok && outerLen+size <= to.mtu:
		s.use(s.packet)
		for i := range sup.count() {
			s.id++
			s.packet.addPacket(&sup, i, ip, s.id, &to)
		}
		return
	case ip.df:
		s.use(s.large)
	default:
		s.use(s.small)
	}
	for i := range sup.count() {
		s.last.addRaw(&sup, i, dst, ip.tos)
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
