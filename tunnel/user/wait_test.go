package user

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func mustAlarm(t *testing.T) *alarm {
	t.Helper()
	a, err := newAlarm()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close() })
	return a
}

// A wait ends when there is something to do, or when the alarm rings: for those
// who wait, and for those who come later.
func TestAlarm(t *testing.T) {
	stop := mustAlarm(t)
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])

	if n := testing.AllocsPerRun(10, func() {
		if err := stop.wait(pipe[1], unix.POLLOUT); err != nil {
			t.Error("a pipe with room:", err)
		}
	}); n != 0 {
		t.Errorf("waiting allocates %v times", n)
	}
	waited := make(chan error)
	go func() { waited <- stop.wait(pipe[0], unix.POLLIN) }()
	if _, err := unix.Write(pipe[1], []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error("a pipe that gets a byte:", err)
	}
	if _, err := unix.Read(pipe[0], make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	go func() { waited <- stop.wait(pipe[0], unix.POLLIN) }()
	stop.ring()
	if err := <-waited; !errors.Is(err, errStopped) {
		t.Errorf("an empty pipe after the alarm: %v, want %v", err, errStopped)
	}
	if err := stop.wait(pipe[0], unix.POLLIN); !errors.Is(err, errStopped) {
		t.Errorf("an empty pipe later: %v, want %v", err, errStopped)
	}
}
