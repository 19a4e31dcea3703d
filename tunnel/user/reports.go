package user

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"genkan/tunnel/icmp"
	"genkan/tunnel/ingress"
)

const (
	// pathAge is how long a learnt path MTU is believed (RFC 8201 §4).
	pathAge  = 10 * time.Minute
	maxPaths = 1024
)

// paths are what the IPv4 paths to tunnel ends carry of an inner packet, where
// that is less than the tunnel's MTU. Learnt by the reports, asked by the
// sender, for packets of more than 1280 bytes only.
type paths struct {
	mu    sync.Mutex // guards known
	known map[[4]byte]path
}

type path struct {
	mtu     int
	learned time.Time
}

func (p *paths) learn(dst [4]byte, mtu int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = make(map[[4]byte]path)
	}
	for old := range p.known { // bounded: any other one is learnt again
		if len(p.known) < maxPaths {
			break
		}
		delete(p.known, old)
	}
	p.known[dst] = path{mtu, now}
}

// mtu returns what is known of the path to dst, 0 if nothing.
func (p *paths) mtu(dst [4]byte, now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k, ok := p.known[dst]; ok && now.Sub(k.learned) < pathAge {
		return k.mtu
	}
	return 0
}

// openICMP opens the socket that hears of ICMPv4 errors to local about
// protocol-41 packets.
func openICMP(local netip.Addr) (*os.File, error) {
	const quotedProto = 8 + 9 // behind the IPv4 header: an ICMP header, then the quoted one
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return nil, fmt.Errorf("icmp socket: %w", err)
	}
	err = attachFilter(fd, []unix.SockFilter{
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: quotedProto},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_IPV6, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	})
	if err == nil {
		err = setInts(fd, []intOption{{unix.IPPROTO_IP, unix.IP_FREEBIND, 1}})
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: local.As4()})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("icmp socket: %w", err)
	}
	return os.NewFile(uintptr(fd), "icmp"), nil
}

// A reporter hears what routers say about our outer packets, and tells the
// inner sender in ICMPv6 (RFC 4213 §3.2.2, §3.4).
type reporter struct {
	conn    syscall.RawConn
	deliver func(buf []byte) // a packet behind vnetLen bytes, to the IPv6 stack
	local   [4]byte
	paths   *paths
	count   *Counters
	tell    icmp.Translator

	buf  [2048]byte
	out  [vnetLen + 1280]byte
	n    int
	err  error
	read func(fd uintptr) bool
}

func newReporter(socket *os.File, deliver func([]byte), cfg Config, paths *paths, count *Counters) (*reporter, error) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reporter{
		conn: conn, deliver: deliver, local: cfg.Local.As4(), paths: paths, count: count,
		tell: icmp.Translator{Check: cfg.Check, Source: cfg.Address, Limit: icmp.NewLimiter()},
	}
	r.read = func(fd uintptr) bool {
		r.n, r.err = unix.Read(int(fd), r.buf[:])
		return r.err != unix.EAGAIN
	}
	return r, nil
}

// run listens until the socket's read deadline passes or it is closed.
func (r *reporter) run() error {
	for {
		if err := r.conn.Read(r.read); err != nil {
			return err
		}
		if r.err != nil {
			if r.err == unix.EINTR || r.err == unix.ENETDOWN {
				continue
			}
			return os.NewSyscallError("read icmp", r.err)
		}
		r.report(r.buf[:r.n], time.Now())
	}
}

// Type and codes of ICMPv4 (RFC 792).
const (
	unreachable         = 3
	protocolUnreachable = 2
	portUnreachable     = 3
)

func (r *reporter) report(pkt []byte, now time.Time) {
	rep, reason := icmp.Parse(pkt, r.local)
	if reason != ingress.Pass {
		r.count.Reasons[reason].Add(1)
		return
	}
	if rep.Type == unreachable && (rep.Code == protocolUnreachable || rep.Code == portUnreachable) {
		// A Linux host with a userspace tunnel end and the module tunnel4 says so
		// about every packet, and takes it nevertheless.
		r.count.Reasons[ingress.ICMPIgnored].Add(1)
		return
	}
	answer, reason := r.tell.Answer(r.out[vnetLen:vnetLen], rep, now)
	if reason != ingress.Pass {
		r.count.Reasons[reason].Add(1)
		return
	}
	if answer.MTU > 0 {
		r.paths.learn(rep.Destination, answer.MTU, now)
	}
	if len(answer.Packet) > 0 {
		r.deliver(r.out[:vnetLen+len(answer.Packet)])
	}
}
