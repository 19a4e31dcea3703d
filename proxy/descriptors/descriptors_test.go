package descriptors

import (
	"errors"
	"math"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBounds(t *testing.T) {
	for _, row := range []struct{ most, accept, serve int32 }{
		{8, 6, 7},
		{64, 48, 56},
		{256, 200, 232},
		{1024, 960, 1000},
		{1 << 20, 1<<20 - 64, 1<<20 - 24},
		{math.MaxInt32, math.MaxInt32 - 64, math.MaxInt32 - 24},
	} {
		if got, want := under(row.most), (Bounds{row.accept, row.serve}); got != want {
			t.Errorf("of %d: %+v, want %+v", row.most, got, want)
		}
	}
	if now := Now(); now.Accept <= 0 || now.Serve <= now.Accept {
		t.Errorf("of this process: %+v", now)
	}
}

// The next number is that of what is opened next, and looking takes none.
func TestNext(t *testing.T) {
	want := Next(0)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if got := int32(f.Fd()); got != want {
		t.Errorf("opened %d, want %d", got, want)
	}
	if next := Next(0); next <= want {
		t.Errorf("next %d beside an open %d", next, want)
	}
	f.Close()
	if got := Next(0); got != want {
		t.Errorf("next %d once it is closed, want %d", got, want)
	}
	if got := Next(-1); got != math.MaxInt32 {
		t.Errorf("next %d of a descriptor that is not open", got)
	}
}

// What is made at a number that is kept back is closed again, all of it.
func TestTake(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := (Bounds{Serve: int32(fds[1]) + 1}).Take(fds[:]...); err != nil {
		t.Errorf("below the bound: %v", err)
	}
	if err := (Bounds{Serve: int32(fds[1])}).Take(fds[:]...); err != unix.EMFILE {
		t.Errorf("at the bound: %v, want EMFILE", err)
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("descriptor %d is open: %v", fd, err)
		}
	}
}

// A dialer gives up a socket that is kept back.
func TestControl(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, row := range []struct {
		bounds Bounds
		want   error
	}{{Now(), nil}, {Bounds{}, unix.EMFILE}} {
		conn, err := (&net.Dialer{Control: row.bounds.Control}).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, row.want) {
			t.Errorf("%+v: %v, want %v", row.bounds, err, row.want)
		}
	}
}
