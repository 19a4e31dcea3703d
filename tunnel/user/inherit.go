package user

import (
	"errors"
	"maps"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Files are descriptors of a Device and its Link, by name, that one process has
// opened and another one goes on with: what arrives meanwhile waits in them. A
// nil Files has none.
type Files map[string]*os.File

// The names in Files. A device may have files of other versions besides.
const (
	fileTUN    = "tun"
	fileRaw    = "raw"
	fileHeader = "header"
	fileSender = "sender"
	filePacket = "packet"
	fileICMP   = "icmp"
)

// take gives a file, which is the caller's then; nil where there is none.
func (f Files) take(name string) *os.File {
	file := f[name]
	delete(f, name)
	return file
}

// Close closes those that nobody has taken.
func (f Files) Close() error {
	var errs []error
	for name, file := range f {
		errs = append(errs, file.Close())
		delete(f, name)
	}
	return errors.Join(errs...)
}

// suit drops the sockets that were opened for another address than local, as
// their filters let other packets in, and gives the others their TTL.
func (f Files) suit(local netip.Addr, ttl int) error {
	raw := f[fileRaw]
	if raw == nil {
		return nil
	}
	conn, err := raw.SyscallConn()
	if err != nil {
		return err
	}
	is := false
	if err := conn.Control(func(fd uintptr) {
		at, err := unix.Getsockname(int(fd))
		four, ok := at.(*unix.SockaddrInet4)
		is = err == nil && ok && netip.AddrFrom4(four.Addr) == local &&
			unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, ttl) == nil
	}); err != nil || is {
		return err
	}
	tun := f.take(fileTUN)
	err = f.Close()
	if tun != nil {
		f[fileTUN] = tun
	}
	return err
}

// OpenDeviceFrom is OpenDevice with the file of another process, where that is
// among files.
func OpenDeviceFrom(name string, files Files) (*Device, error) {
	f := files.take(fileTUN)
	if f == nil {
		return OpenDevice(name)
	}
	fd, err := detach(f)
	if err != nil {
		return nil, err
	}
	d := &Device{fd: fd}
	if have, err := nameOf(fd); err != nil || have != name {
		return nil, errors.Join(errors.New("the inherited device has another name: "+have), err, d.Close())
	}
	return d, nil
}

// detach takes a descriptor away from Go's poller, with f's others.
func detach(f *os.File) (int, error) {
	fd, err := duplicate(f)
	return fd, errors.Join(err, f.Close())
}

func duplicate(f *os.File) (fd int, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	ctlErr := conn.Control(func(orig uintptr) { fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(ctlErr, os.NewSyscallError("fcntl", err))
}

// nameOf asks a TUN device for its name.
func nameOf(fd int) (string, error) {
	req, err := unix.NewIfreq("x")
	if err != nil {
		return "", err
	}
	err = unix.IoctlIfreq(fd, unix.TUNGETIFF, req)
	return req.Name(), err
}

// Files gives duplicates of what the device and its link have open, for another
// process. The caller closes them. A nil link has nothing open.
func (d *Device) Files(l *Link) (Files, error) {
	files := Files{}
	var errs []error
	add := func(name string, dup int, err error) {
		if err != nil {
			errs = append(errs, err)
			return
		}
		files[name] = os.NewFile(uintptr(dup), name)
	}
	all := map[string]int{fileTUN: d.fd}
	if l != nil {
		maps.Copy(all, l.sockets)
		if l.listen != nil {
			dup, err := duplicate(l.listen)
			add(fileICMP, dup, err)
		}
	}
	for name, fd := range all {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		add(name, dup, os.NewSyscallError("fcntl", err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, files.Close())...)
	}
	return files, nil
}
