package thread

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func policy() uintptr {
	p, _, _ := unix.RawSyscall(unix.SYS_SCHED_GETSCHEDULER, 0, 0, 0)
	return p
}

// Only the goroutine that asks gets it, and its thread is not used again.
func TestOwn(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := policy()
	type seen struct {
		policy uintptr
		thread int
	}
	told := make(chan seen)
	go func() {
		Own()
		runtime.Gosched()
		told <- seen{policy(), unix.Gettid()}
	}()
	own := <-told
	want := uintptr(unix.SCHED_BATCH)
	if before != unix.SCHED_NORMAL {
		want = before // the tests run under a policy that somebody chose
	}
	if own.policy != want {
		t.Errorf("policy %d, want %d", own.policy, want)
	}
	if got := policy(); got != before {
		t.Errorf("policy of another thread %d, was %d", got, before)
	}
	for range 100 {
		go func() { told <- seen{policy(), unix.Gettid()} }()
		if other := <-told; other.policy != before || other.thread == own.thread {
			t.Fatalf("another goroutine has policy %d on thread %d; %d is the loop's", other.policy, other.thread, own.thread)
		}
	}
}

// A policy that was chosen stays.
func TestOwnKeepsPolicy(t *testing.T) {
	told := make(chan uintptr)
	go func() {
		runtime.LockOSThread()
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
			t.Error(err)
		}
		Own()
		told <- policy()
	}()
	if got := <-told; got != unix.SCHED_IDLE {
		t.Errorf("policy %d, want %d", got, unix.SCHED_IDLE)
	}
}
