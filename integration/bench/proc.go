package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go knows.
const clockTick = 10 * time.Millisecond

// A session is all processes that one contestant consists of.
type session struct{ leader int }

// ownSession starts a program as the leader of a session, and ends it with us.
func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
}

// endSession ends a program started so, and its children.
func endSession(c *exec.Cmd) {
	leader := c.Process.Pid
	syscall.Kill(-leader, syscall.SIGTERM)
	late := time.AfterFunc(5*time.Second, func() { syscall.Kill(-leader, syscall.SIGKILL) })
	c.Wait()
	late.Stop()
}

// each calls f with the numbers of /proc/PID/stat, from the third field on
// (proc_pid_stat(5): session is the sixth field, so f[3]), for every process.
func (s session) each(f func(pid string, fields []string)) error {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	leader := strconv.Itoa(s.leader)
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		_, after, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
		fields := strings.Fields(after)
		if ok && len(fields) > 14 && fields[3] == leader {
			f(filepath.Base(filepath.Dir(path)), fields)
		}
	}
	return nil
}

// cpu returns the time that the session's processes have used so far. A living
// thread's is told in nanoseconds (schedstat); a process of 64 has hardly used a
// clock tick.
func (s session) cpu() (time.Duration, error) {
	var sum time.Duration
	err := s.each(func(pid string, fields []string) {
		for _, f := range fields[13:15] { // cutime, cstime: children that have ended
			n, _ := strconv.ParseInt(f, 10, 64)
			sum += time.Duration(n) * clockTick
		}
		threads, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
		for _, path := range threads {
			b, _ := os.ReadFile(path) // none: ended meanwhile
			ns, _, _ := strings.Cut(string(b), " ")
			n, _ := strconv.ParseInt(ns, 10, 64)
			sum += time.Duration(n)
		}
	})
	return sum, err
}

// memory returns the session's memory in bytes: what its processes share counts
// once (PSS, proc_pid_smaps(5)).
func (s session) memory() (int64, error) {
	var sum int64
	var failed error
	err := s.each(func(pid string, _ []string) {
		n, err := pss(pid)
		if err != nil {
			failed = err
		}
		sum += n
	})
	if err == nil {
		err = failed
	}
	return sum, err
}

func pss(pid string) (int64, error) {
	f, err := os.Open("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "Pss: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s: no line Pss", f.Name())
}
