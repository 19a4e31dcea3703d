package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"genkan/integration/lab"
)

// No black hole: 10 MB each way at once, through relay, tunnel and forward,
// over an IPv4 path with a hop that is smaller than the tunnel's packets, with
// ICMP and with all of it filtered.
func TestTransferOverNarrowPath(t *testing.T) {
	for _, row := range []struct {
		name     string
		link     string
		end      netip.Addr
		mtu      int
		filtered bool
	}{
		{"wide", "front0", lab.FrontV4, 1500, false},
		{"to-front-1400", "front0", lab.FrontV4, 1400, false},
		{"to-front-1280-filtered", "front0", lab.FrontV4, 1280, true},
		{"to-relay-1280", "relay0", lab.RelayV4, 1280, false},
		{"to-relay-1280-filtered", "relay0", lab.RelayV4, 1280, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := mustWorld(t)
			if err := w.ISP.SetHop(row.link, netip.PrefixFrom(row.end, 24), row.mtu); err != nil {
				t.Fatal(err)
			}
			if row.filtered {
				if err := w.ISP.DropICMP(); err != nil {
					t.Fatal(err)
				}
			}
			startExchange(t, w, lab.BackendV4.String()+":7000")
			w.front(t, forwardConfig)
			c := clients[0]
			if err := exchange(w.dial(t, c.addr, c.to, 7000), 'c', 's'); err != nil {
				t.Error(err)
			}
		})
	}
}

// transferSize is what each end sends.
const transferSize = 10 << 20

// exchange sends the stream of one seed, ends its direction, and wants the
// stream of the other.
func exchange(c *net.TCPConn, ours, theirs byte) error {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(4 * patience)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(c, stream(ours))
		sent <- errors.Join(err, c.CloseWrite())
	}()
	got, want := sha256.New(), sha256.New()
	n, err := io.Copy(got, c)
	if err := errors.Join(err, <-sent); err != nil {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if _, err := io.Copy(want, stream(theirs)); err != nil {
		return err
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return fmt.Errorf("got %d bytes, and not those sent", n)
	}
	return nil
}

func stream(seed byte) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), transferSize)
}

// startExchange is a server of one such connection.
func startExchange(t *testing.T, w *world, addr string) {
	t.Helper()
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = exchange(c.(*net.TCPConn), 's', 'c')
		}
		done <- err
	}()
	t.Cleanup(func() {
		l.Close()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("at the backend: %v", err)
		}
	})
}
