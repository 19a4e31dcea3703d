package user

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openTUN creates the TUN device name, or attaches to it where it exists and
// is persistent. Every packet read from and written to the file stands behind
// a virtio_net_hdr, TCP and UDP super-packets included.
func openTUN(name string) (int, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	if err := attachTUN(fd, name); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func attachTUN(fd int, name string) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp|unix.TUN_F_USO4|unix.TUN_F_USO6)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.2: no UDP segmentation
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
	}
	return err
}

// persistTUN makes the device outlive its file, or not.
func persistTUN(fd int, on bool) error {
	arg := 0
	if on {
		arg = 1
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, arg)
}

// A tunFile gives packets to a TUN device and takes packets from it, each behind
// a virtio_net_hdr. It may be used by several goroutines, and not after the
// device is closed. Neither direction ever blocks.
type tunFile struct{ fd int }

// read takes one packet; EAGAIN: there is none.
func (t tunFile) read(buf []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(t.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return int(n), errno
}

// write gives one packet in pieces.
func (t tunFile) write(iov []unix.Iovec, count *Counters) {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(t.fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	if errno != 0 {
		count.Faults[TUNWrite].Add(1)
	}
}

// message gives a packet of our own, which stands in buf behind vnetLen bytes.
func (t tunFile) message(buf []byte, count *Counters) {
	vnetHdr{}.put(buf)
	var iov [1]unix.Iovec
	iov[0].Base = &buf[0]
	iov[0].SetLen(len(buf))
	t.write(iov[:], count)
}
