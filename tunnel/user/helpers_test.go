package user

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mustNull opens /dev/null, which takes what is written.
func mustNull(t *testing.T) int {
	t.Helper()
	fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// putAux writes the control message that tells the link header's length.
func putAux(b []byte, link uint16) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_PACKET, unix.PACKET_AUXDATA
	h.SetLen(unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.TpacketAuxdata{})))
	(*unix.TpacketAuxdata)(unsafe.Pointer(&b[unix.SizeofCmsghdr])).Net = link
}

// innerUDP is a packet from the IPv6 Internet for config A.
func innerUDP() []byte {
	p := make([]byte, 40+8+100)
	p[0], p[6], p[7] = 0x60, protoUDP, 64
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	src, dst := netip.MustParseAddr("2606:4700::1").As16(), netip.MustParseAddr("2001:db8:c000:20a::1").As16()
	copy(p[8:], src[:])
	copy(p[24:], dst[:])
	binary.BigEndian.PutUint16(p[44:], 108)
	binary.BigEndian.PutUint16(p[46:], ^fold(sum(pseudo(p[8:], 108, protoUDP), p[40:])))
	return p
}
