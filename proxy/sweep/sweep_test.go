package sweep

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLateReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := New()
		go s.Run(ctx)
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		g := s.Guard(a, nil)
		defer g.Release()
		begin := time.Now()
		g.Read(5 * time.Second)
		_, err := a.Read(make([]byte, 1))
		took := time.Since(begin)
		if !errors.Is(err, os.ErrDeadlineExceeded) || took < 5*time.Second || took > 5*time.Second+2*Tick {
			t.Errorf("Read = %v after %v, want a deadline error after 5 s", err, took)
		}
		g.Read(time.Hour)
		if _, err = a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("second Read = %v, want that a struck connection stays so", err)
		}
	})
}

func TestReadInTimeIsNotStruck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := New()
		go s.Run(ctx)
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		g := s.Guard(a, nil)
		defer g.Release()
		for range 10 {
			g.Read(time.Second)
			go func() {
				time.Sleep(900 * time.Millisecond)
				b.Write([]byte("x"))
			}()
			if _, err := a.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			g.Read(0)
			time.Sleep(time.Minute)
		}
	})
}
