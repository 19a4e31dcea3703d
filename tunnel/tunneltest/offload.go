package tunneltest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LikeWire makes an interface one that knows no tunnels: packets are cut to the
// size of the link before they leave it, and merged when they have come. As it
// is, a veth gives packets of up to 64 KiB to its other end as they are.
func (n *NS) LikeWire(name string) {
	n.tb.Helper()
	n.Must(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		e := ethtool{fd: fd, name: name}
		names, err := e.features()
		if err != nil {
			return err
		}
		want := map[int]bool{}
		for i, name := range names {
			switch {
			case strings.HasPrefix(name, "tx-") && strings.HasSuffix(name, "-segmentation"):
				want[i] = false
			case name == "rx-gro":
				want[i] = true
			}
		}
		if len(want) < 2 {
			return errors.New("no offloads among the features of " + name)
		}
		return e.set(len(names), want)
	})
}

// An ethtool asks for the features of one interface and changes them, as
// ethtool(8) does by SIOCETHTOOL.
type ethtool struct {
	fd   int
	name string
}

// do exchanges one struct of linux/ethtool.h, made of 32-bit words and bytes.
func (e ethtool) do(request []byte) error {
	ifreq := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&request[0])}
	copy(ifreq.name[:unix.IFNAMSIZ-1], e.name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return os.NewSyscallError("ethtool "+e.name, errno)
	}
	return nil
}

func words(w ...uint32) (b []byte) {
	for _, v := range w {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// features are the names of all features, by number.
func (e ethtool) features() (names []string, err error) {
	const (
		getCount   = 0x37
		getStrings = 0x1b
		ofFeatures = 4
		nameLen    = 32
	)
	count := words(getCount, 0, 1<<ofFeatures, 0, 0)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // the mask is one word of 64 bits
		count = words(getCount, 0, 0, 1<<ofFeatures, 0)
	}
	if err := e.do(count); err != nil {
		return nil, err
	}
	n := binary.NativeEndian.Uint32(count[16:])
	list := append(words(getStrings, ofFeatures, n), make([]byte, nameLen*n)...)
	if err := e.do(list); err != nil {
		return nil, err
	}
	for name := range n {
		text, _, _ := bytes.Cut(list[12+name*nameLen:][:nameLen], []byte{0})
		names = append(names, string(text))
	}
	return names, nil
}

// set changes features by number, of count.
func (e ethtool) set(count int, want map[int]bool) error {
	const setFeatures = 0x3b
	blocks := (count + 31) / 32
	w := make([]uint32, 2+2*blocks)
	w[0], w[1] = setFeatures, uint32(blocks)
	for i, on := range want {
		valid, value := &w[2+i/32*2], &w[3+i/32*2]
		*valid |= 1 << (i % 32)
		if on {
			*value |= 1 << (i % 32)
		}
	}
	return e.do(words(w...))
}
