package tunneltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TransferTimeout bounds one transfer. It is generous: the machine is shared.
const TransferTimeout = 60 * time.Second

// Transfer sends size bytes over TCP from one namespace to an address in
// another, compares their sum there, and returns the time it took.
func Transfer(tb testing.TB, from, to *NS, addr netip.Addr, size int) time.Duration {
	tb.Helper()
	var l net.Listener
	to.Must(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	defer l.Close()
	return TransferTo(tb, from, l, size)
}

// TransferTo is Transfer to a listener that exists.
func TransferTo(tb testing.TB, from *NS, l net.Listener, size int) time.Duration {
	tb.Helper()
	deadline := time.Now().Add(TransferTimeout)
	got := make(chan error, 1)
	sum := make(chan []byte, 1)
	go func() {
		if tl, ok := l.(*net.TCPListener); ok {
			_ = tl.SetDeadline(deadline)
		}
		c, err := l.Accept()
		if err != nil {
			got <- err
			return
		}
		defer c.Close()
		_ = c.SetDeadline(deadline)
		h := sha256.New()
		_, err = io.Copy(h, c)
		sum <- h.Sum(nil)
		got <- err
	}()
	var c net.Conn
	from.Must(func() (err error) {
		d := net.Dialer{Deadline: deadline}
		c, err = d.Dial("tcp", l.Addr().String())
		return err
	})
	_ = c.SetDeadline(deadline)
	begun := time.Now()
	h := sha256.New()
	_, err := io.Copy(io.MultiWriter(c, h), io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(size)))
	err = errors.Join(err, c.Close())
	if err == nil {
		err = <-got
	}
	if err != nil {
		tb.Fatal("transfer:", err)
	}
	took := time.Since(begun)
	if !bytes.Equal(<-sum, h.Sum(nil)) {
		tb.Fatal("transfer: the bytes that arrived are not those that were sent")
	}
	return took
}

// Segments sends datagrams of size bytes as one UDP_SEGMENT burst after the
// other and compares each that arrives. UDP may lose some: at least half must
// come, and none may be changed.
func Segments(tb testing.TB, from, to *NS, addr netip.Addr, size, bursts int) {
	tb.Helper()
	const perBurst = 16
	var in, out *net.UDPConn
	to.Must(func() (err error) {
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	})
	defer in.Close()
	from.Must(func() (err error) {
		out, err = net.DialUDP("udp", nil, in.LocalAddr().(*net.UDPAddr))
		return err
	})
	defer out.Close()
	if err := control(out, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
	}); err != nil {
		tb.Fatal("UDP_SEGMENT:", err)
	}
	buf := make([]byte, 65536)
	arrived := 0
	for b := range bursts {
		var burst []byte
		for i := range perBurst {
			burst = append(burst, datagram(b*perBurst+i, size)...)
		}
		if _, err := out.Write(burst); err != nil {
			tb.Fatal("send burst:", err)
		}
		_ = in.SetReadDeadline(time.Now().Add(2 * time.Second))
		for range perBurst {
			n, err := in.Read(buf)
			if err != nil {
				break // some of this burst are lost
			}
			k := int(binary.BigEndian.Uint32(buf))
			if n != size || !bytes.Equal(buf[:n], datagram(k, size)) {
				tb.Fatalf("datagram %d of %d bytes arrived changed (%d bytes)", k, size, n)
			}
			arrived++
		}
	}
	if arrived < bursts*perBurst/2 {
		tb.Fatalf("%d of %d datagrams arrived", arrived, bursts*perBurst)
	}
}

// datagram is the k-th one of size bytes.
func datagram(k, size int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(k))
	for len(b) < size {
		b = append(b, byte(k+len(b)*7))
	}
	return b
}

func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}

// Reachable fails the test unless a TCP connection from one namespace to an address in
// another is made within the deadline; it tries again until then.
func Reachable(tb testing.TB, from, to *NS, addr netip.Addr, within time.Duration) {
	tb.Helper()
	if err := TryReach(from, to, addr, within); err != nil {
		tb.Fatal(err)
	}
}

// TryReach is Reachable with an error.
func TryReach(from, to *NS, addr netip.Addr, within time.Duration) error {
	var l net.Listener
	var err error
	to.Do(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String()) })
	if err != nil {
		return err
	}
	defer l.Close()
	for begun := time.Now(); time.Since(begun) < within; {
		var c net.Conn
		from.Do(func() { c, err = net.DialTimeout("tcp", l.Addr().String(), min(within, time.Second)) })
		if err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("%s is not reachable: %w", addr, err)
}
