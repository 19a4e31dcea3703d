package user

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openTUN creates the TUN device name, or attaches to it where it exists and
// is persistent. Every packet read from and written to the file stands behind
// a virtio_net_hdr, TCP and UDP super-packets included.
func openTUN(name string) (*os.File, error) {
	const path = "/dev/net/tun"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := attachTUN(fd, name); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
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
func persistTUN(f *os.File, on bool) error {
	arg := 0
	if on {
		arg = 1
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioctlErr error
	err = conn.Control(func(fd uintptr) { ioctlErr = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, arg) })
	return errors.Join(err, ioctlErr)
}

// A tunWriter gives packets to a TUN device, each behind a virtio_net_hdr. It
// may be used by several goroutines, and not after the device is closed.
type tunWriter struct{ fd uintptr }

func newTUNWriter(tun *os.File) (w tunWriter, err error) {
	conn, err := tun.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { w.fd = fd })
	}
	return w, err
}

// write gives one packet in pieces. The device never blocks.
func (w tunWriter) write(iov []unix.Iovec, count *Counters) {
	_, _, errno := unix.Syscall(unix.SYS_WRITEV, w.fd, uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	if errno != 0 {
		count.Faults[TUNWrite].Add(1)
	}
}

// message gives a packet of our own, which stands in buf behind vnetLen bytes.
func (w tunWriter) message(buf []byte, count *Counters) {
	vnetHdr{}.put(buf)
	var iov [1]unix.Iovec
	iov[0].Base = &buf[0]
	iov[0].SetLen(len(buf))
	w.write(iov[:], count)
}
