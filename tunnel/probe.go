package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"genkan/tunnel/icmp"
)

// A ProbeResult is what a relay did with packets that go through it back to us.
type ProbeResult struct {
	Relay netip.Addr    `json:"relay"`
	MTU   int           `json:"mtu"` // the largest inner packet that came back in one piece, 0: none did
	RTT   time.Duration `json:"rtt"` // of the first that came back
}

// Probe sends packets to ourselves through each relay (RFC 5969 §8): what comes
// back has shown that protocol 41 passes both ways, that the relay works, and
// which sizes pass unfragmented. It needs CAP_NET_RAW; the tunnel need not be up.
func Probe(ctx context.Context, cfg Config) ([]ProbeResult, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg, err := Leased(ctx, cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	p, err := cfg.find()
	if err != nil {
		return nil, err
	}
	relays := cfg.Relays
	if cfg.Kind == Kind6in4 {
		relays = []netip.Addr{cfg.Remote}
	}
	var out []ProbeResult
	for _, r := range relays {
		res, err := p.probe(ctx, r, probeSizes(p.UplinkMTU))
		if err != nil {
			return nil, err
		}
		out = append(out, res)
	}
	return out, nil
}

// autoMTU is the largest size that passes to the relay and back. A relay that
// does not send us back to ourselves, and a role that has none, leave 1280.
func (c Config) autoMTU(ctx context.Context, p place) (int, error) {
	towards := c.Remote
	switch {
	case c.Role == RoleRelay:
		return minMTU, nil
	case c.Kind == Kind6RD:
		towards = p.Gateway
	}
	res, err := p.probe(ctx, towards, probeSizes(p.UplinkMTU))
	if err != nil {
		return 0, err
	}
	if res.MTU == 0 {
		c.Log.Warn("tunnel: mtu \"auto\": no probe came back from the relay, uses 1280", "relay", towards)
	}
	return max(minMTU, res.MTU), nil
}

const (
	probeRounds   = 3
	probePatience = 400 * time.Millisecond
)

// probeSizes are inner packet sizes worth trying on an uplink, largest first:
// what Ethernet, PPPoE, and tunnels in tunnels leave. Those below 1280 tell a
// path that fragments from a relay that is silent.
func probeSizes(uplink int) []int {
	sizes := []int{uplink - outerHeader, 8980, 4332, 1480, 1472, 1460, 1452, 1440, 1432, 1420, 1400, 1380, 1360, 1340, 1320, 1300, minMTU, 1260, 128}
	sizes = slices.DeleteFunc(sizes, func(n int) bool { return n > uplink-outerHeader || n > maxMTU })
	slices.SortFunc(sizes, func(a, b int) int { return b - a })
	return slices.Compact(sizes)
}

// probe tries the sizes, largest first, through a relay.
func (p *place) probe(ctx context.Context, relay netip.Addr, sizes []int) (ProbeResult, error) {
	res := ProbeResult{Relay: relay}
	doing := fmt.Sprintf("probe relay %s", relay)
	send, receive, err := openProbe(p.Local, relay)
	if err != nil {
		return res, explain(doing, capRaw, err)
	}
	defer send.Close()
	defer receive.Close()
	var nonce [16]byte
	rand.Read(nonce[:])
	buf := make([]byte, 65536)
	for range probeRounds {
		begun := time.Now()
		for _, size := range slices.Backward(sizes) {
			// One that does not fit the first link is refused here, which is an
			// answer too.
			err := sendTo(send, probePacket(p.Address, nonce, size), relay)
			if err != nil && !errors.Is(err, unix.EMSGSIZE) {
				return res, explain(doing, capRaw, err)
			}
		}
		_ = receive.SetReadDeadline(begun.Add(probePatience))
		for ctx.Err() == nil {
			n, err := receive.Read(buf)
			if err != nil {
				break // time is over
			}
			if size := isProbe(buf[:n], nonce); size > 0 && size > res.MTU {
				if res.MTU == 0 {
					res.RTT = time.Since(begun)
				}
				if res.MTU = size; size == sizes[0] {
					return res, nil
				}
			}
		}
		if err := ctx.Err(); err != nil {
			return res, fmt.Errorf("tunnel: %s: %w", doing, err)
		}
	}
	return res, nil
}

// openProbe opens a socket that sends with DF whatever is known of the path,
// and one that sees protocol 41 from the relay before any datapath does.
func openProbe(local, relay netip.Addr) (send, receive *os.File, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_IPV6)
	if err != nil {
		return nil, nil, fmt.Errorf("raw socket: %w", err)
	}
	send = os.NewFile(uintptr(fd), "probe")
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: local.As4()})
	}
	if err != nil {
		send.Close()
		return nil, nil, fmt.Errorf("raw socket bound to %s: %w", local, err)
	}
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		send.Close()
		return nil, nil, fmt.Errorf("packet socket: %w", err)
	}
	receive = os.NewFile(uintptr(fd), "probe")
	prog := probeFilter(relay.As4(), local.As4())
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	if err == nil {
		// ETH_P_ALL: before tc, where eBPF programs drop what claims to be ours.
		var all [2]byte
		binary.BigEndian.PutUint16(all[:], unix.ETH_P_ALL)
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all[:])})
	}
	if err != nil {
		send.Close()
		receive.Close()
		return nil, nil, fmt.Errorf("packet socket: %w", err)
	}
	return send, receive, nil
}

// probeFilter passes whole packets with protocol 41 from src to dst.
func probeFilter(src, dst [4]byte) []unix.SockFilter {
	load := func(size uint16, off uint32) unix.SockFilter {
		const netOff = 0xfff00000 // SKF_NET_OFF
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: netOff + off}
	}
	equal := func(k uint32, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: otherwise}
	}
	return []unix.SockFilter{
		load(unix.BPF_B, 0), equal(0x45, 9),
		load(unix.BPF_H, 6), {Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 7},
		load(unix.BPF_B, 9), equal(unix.IPPROTO_IPV6, 5),
		load(unix.BPF_W, 12), equal(binary.BigEndian.Uint32(src[:]), 3),
		load(unix.BPF_W, 16), equal(binary.BigEndian.Uint32(dst[:]), 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}

const probeHead = 40 + 8 // IPv6 and ICMPv6 echo headers

// probePacket is an echo reply from us to us: no router answers it, and no
// host, should it go astray.
func probePacket(own netip.Addr, nonce [16]byte, size int) []byte {
	const icmpv6, echoReply = 58, 129
	p := make([]byte, size)
	p[0], p[6], p[7] = 0x60, icmpv6, 64
	binary.BigEndian.PutUint16(p[4:], uint16(size-40))
	a := own.As16()
	copy(p[8:], a[:])
	copy(p[24:], a[:])
	p[40] = echoReply
	copy(p[probeHead:], nonce[:])
	sum := icmp.Fold(icmp.Sum(icmp.PseudoHeader(p, size-40, icmpv6), p[40:]))
	binary.BigEndian.PutUint16(p[42:], sum)
	return p
}

// isProbe returns the inner size of an outer packet that is a probe of ours,
// else 0.
func isProbe(pkt []byte, nonce [16]byte) int {
	const outer = outerHeader
	if len(pkt) < outer+probeHead+len(nonce) || !bytes.Equal(pkt[outer+probeHead:][:len(nonce)], nonce[:]) {
		return 0
	}
	return 40 + int(binary.BigEndian.Uint16(pkt[outer+4:]))
}

func sendTo(f *os.File, b []byte, to netip.Addr) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = conn.Write(func(fd uintptr) bool {
		sendErr = unix.Sendto(int(fd), b, 0, &unix.SockaddrInet4{Addr: to.As4()})
		return sendErr != unix.EAGAIN
	})
	return errors.Join(err, sendErr)
}
