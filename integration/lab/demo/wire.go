package demo

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"genkan/integration/lab"

	"golang.org/x/sys/unix"
)

// A sighting is one 6rd packet on the IPv4 wire: the IPv4 addresses of the
// tunnel's ends and the IPv6 addresses of the packet inside.
type sighting struct {
	outerSrc, outerDst, innerSrc, innerDst netip.Addr
}

// A wire watches the ISP's cable to the front for protocol 41.
type wire struct{ fd int }

func watch(isp *lab.Namespace) (w *wire, err error) {
	err = isp.Do(func() error {
		// Little-endian or not, the protocol is in network order.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
		if err != nil {
			return fmt.Errorf("demo: watch the IPv4 wire: %w", err)
		}
		tv := unix.NsecToTimeval(int64(2 * time.Second))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			unix.Close(fd)
			return fmt.Errorf("demo: watch the IPv4 wire: %w", err)
		}
		w = &wire{fd: fd}
		return nil
	})
	return w, err
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

func (w *wire) close() { unix.Close(w.fd) }

// find reads what has passed until it meets a packet from the client inside
// protocol 41. It gives up when the wire stays silent for two seconds.
func (w *wire) find(client netip.Addr) (sighting, bool) {
	buf := make([]byte, 128)
	for range 1000 {
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return sighting{}, false
		}
		if s, ok := parse(buf[:n]); ok && s.innerSrc == client {
			return s, true
		}
	}
	return sighting{}, false
}

// parse reads the two headers of an IPv6-in-IPv4 packet without IPv4 options.
func parse(b []byte) (sighting, bool) {
	if len(b) < 60 || b[0] != 0x45 || b[9] != unix.IPPROTO_IPV6 || b[20]>>4 != 6 {
		return sighting{}, false
	}
	return sighting{
		outerSrc: netip.AddrFrom4([4]byte(b[12:16])),
		outerDst: netip.AddrFrom4([4]byte(b[16:20])),
		innerSrc: netip.AddrFrom16([16]byte(b[28:44])),
		innerDst: netip.AddrFrom16([16]byte(b[44:60])),
	}, true
}
