package main

import (
	"context"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"
)

const (
	jobPatience = 5 * time.Second       // bounds the question to systemd
	jobPause    = 50 * time.Millisecond // before it is asked again
)

// restarting reports whether systemd stops this process to start the next one: the tunnel then stays for that. SIGTERM
// itself is the same for "stop" and "restart"; the job is not. Without systemd, or an answer, it is a stop.
func restarting(ctx context.Context) bool {
	if os.Getenv("INVOCATION_ID") == "" {
		return false
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false
	}
	unit := unitOf(string(text))
	if unit == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobPatience)
	defer cancel()
	for {
		jobs, err := exec.CommandContext(ctx, "systemctl", "list-jobs", "--full", "--plain", "--no-legend", unit).Output()
		if err == nil {
			return restartJob(string(jobs), unit)
		}
		// KillMode=control-group: the SIGTERM that we had goes to each process of the unit that systemd finds, and it
		// looks again after each: the question itself may be hit.
		select {
		case <-ctx.Done():
			return false
		case <-time.After(jobPause):
		}
	}
}

// mayAskLater has package os find out now whether it can use pidfd. It does so once, by a child that has our memory and
// our signal handlers: while we stop, systemd's SIGTERM to that child would come to us as a second one.
func mayAskLater() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Release() // of ourselves: nothing is lost
	}
}

// unitOf is the service that a process is in, from /proc/PID/cgroup: "0::/system.slice/genkan.service". "" is none.
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		for dir := strings.TrimSpace(line); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if base := path.Base(dir); strings.HasSuffix(base, ".service") {
				return base
			}
		}
	}
	return ""
}

// restartJob finds a unit's job in lines of systemctl's: JOB UNIT TYPE STATE.
func restartJob(jobs, unit string) bool {
	for line := range strings.Lines(jobs) {
		if f := strings.Fields(line); len(f) >= 3 && f[1] == unit {
			return f[2] == "restart"
		}
	}
	return false
}
