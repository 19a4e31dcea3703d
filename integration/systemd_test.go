package integration

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// systemdInit is the first process of a machine of its own that shares nothing with the host but its programs and the
// network namespace: $1 is a folder to find in /run/lab, and holds genkan.service.
const systemdInit = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mkdir -p "$1/state"
mount --bind "$1/state" /var/lib
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mkdir /dev/shm/lab
mount --bind "$1" /dev/shm/lab
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/lab
mount --move /dev/shm/lab /run/lab
cp /run/lab/genkan.service /run/lab/idle.target /run/systemd/system/
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for d in /etc/systemd/system /lib/systemd/system-generators /lib/systemd/system-environment-generators; do mount -t tmpfs tmpfs $d; done
exec env container=docker /lib/systemd/systemd --system --unit=idle.target --log-target=console --show-status=0`

// A machine is a systemd that runs in the front.
type machine struct {
	*lab.Process
	w *world
}

// startSystemd boots one with the unit of this repository, in which only paths are others.
func startSystemd(t *testing.T, w *world, config string) *machine {
	t.Helper()
	require.File(t, "/lib/systemd/systemd", "Debian package systemd")
	dir := filepath.Join(w.Dir, "machine")
	unit, err := exec.Command("sed", "-e", "s|^ExecStart=.*|ExecStart=/run/lab/genkan run -c /run/lab/genkan.toml|",
		"-e", `s|^\[Unit\]|[Unit]\nDefaultDependencies=no|`, "-e", `s|^\[Service\]|[Service]\nStandardError=append:/run/lab/log|`, "-e", "s|^WatchdogSec=.*|WatchdogSec=3|", "../cmd/genkan/dist/genkan.service").Output()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("install", "-D", w.program, filepath.Join(dir, "genkan")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mustWrite(t, filepath.Join(dir, "genkan.service"), string(unit))
	mustWrite(t, filepath.Join(dir, "idle.target"), "[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n")
	mustWrite(t, filepath.Join(dir, "genkan.toml"), config)
	cmd := exec.Command("/bin/sh", "-c", systemdInit, "sh", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill) // with all that runs in it
	m := &machine{p, w}
	waitUntil(t, patience, "systemd", func() error {
		out, err := m.systemctl("is-active", "idle.target")
		if err != nil {
			return fmt.Errorf("%w: %s%s", err, out, p.Output())
		}
		return nil
	})
	return m
}

// systemctl runs it in the machine.
func (m *machine) systemctl(args ...string) (string, error) {
	out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(m.Pid()), "-m", "-p", "-n", "systemctl"}, args...)...).CombinedOutput()
	return string(out), err
}

func (m *machine) mustSystemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := m.systemctl(args...); err != nil {
		log, _ := exec.Command("cat", filepath.Join(m.w.Dir, "machine", "log")).Output()
		t.Fatalf("systemctl %v: %v: %s\n%s\n%s", args, err, out, log, m.Output())
	}
}

func (w *world) linkIndex(t *testing.T, name string) (index int) {
	t.Helper()
	if err := w.Front.Do(func() error {
		link, err := net.InterfaceByName(name)
		if err == nil {
			index = link.Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return index
}

// TestSystemdRestartKeepsTheTunnel: a real systemd with our unit. "restart" leaves the tunnel for the next process, "stop"
// leaves nothing.
func TestSystemdRestartKeepsTheTunnel(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	before := mustSnapshot(t, w.Front)
	m := startSystemd(t, w, loadConfig(0))
	reaches := func(when string) {
		t.Helper()
		if err := ask(t.Context(), w.httpClient(lab.Client6.String(), false), "http://["+lab.Front6.String()+"]/"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	m.mustSystemctl(t, "start", "genkan")
	reaches("after the start")
	index := w.linkIndex(t, "tun6rd")
	for range 2 {
		begin := time.Now()
		m.mustSystemctl(t, "restart", "genkan")
		t.Logf("restart took %v", time.Since(begin).Round(time.Millisecond))
		reaches("after the restart")
		if now := w.linkIndex(t, "tun6rd"); now != index {
			t.Errorf("the tunnel's interface is another one after a restart: %d, was %d", now, index)
		}
	}
	m.checkUpgrade(t)
	reaches("after an upgrade")
	m.checkWatchdog(t)
	reaches("after a process that hung")
	if now := w.linkIndex(t, "tun6rd"); now != index {
		t.Errorf("the tunnel's interface is another one now: %d, was %d", now, index)
	}
	log, err := exec.Command("cat", filepath.Join(w.Dir, "machine", "log")).Output()
	if err != nil || strings.Count(string(log), "the tunnel stays for the next process") != 2 || strings.Count(string(log), "adopts what a former process left") != 4 {
		t.Errorf("%v, the log:\n%s\n%s", err, log, m.Output())
	}
	m.mustSystemctl(t, "stop", "genkan")
	checkUntouched(t, w.Front, before, "after systemctl stop")
}

// mainPid is the process that systemd takes for the service.
func (m *machine) mainPid(t *testing.T) string {
	t.Helper()
	out, err := m.systemctl("show", "--property=MainPID,ActiveState", "genkan")
	if err != nil || !strings.Contains(out, "ActiveState=active") {
		t.Errorf("systemctl show: %v, %q", err, out)
	}
	_, after, _ := strings.Cut(out, "MainPID=")
	pid, _, _ := strings.Cut(after, "\n")
	return pid
}

// checkUpgrade replaces the program within the unit, as confined as that is.
func (m *machine) checkUpgrade(t *testing.T) {
	t.Helper()
	before := m.mainPid(t)
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(m.Pid()), "-m", "-p", "-n", "/run/lab/genkan", "upgrade").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "process "+before+" is done") {
		t.Errorf("genkan upgrade: %v, %s", err, out)
	}
	if after := m.mainPid(t); after == before || after == "0" {
		t.Errorf("systemd's main process is %q, was %q", after, before)
	}
}

// checkWatchdog stops the process as one that hangs: systemd starts another.
func (m *machine) checkWatchdog(t *testing.T) {
	t.Helper()
	before := m.mainPid(t)
	m.mustSystemctl(t, "kill", "--signal=STOP", "--kill-whom=main", "genkan")
	waitUntil(t, 3*patience, "another process", func() error { // Restart=on-failure
		out, err := m.systemctl("show", "--property=MainPID,ActiveState", "genkan")
		if err != nil || strings.Contains(out, "MainPID="+before+"\n") || !strings.Contains(out, "ActiveState=active\n") {
			return fmt.Errorf("%v, %s", err, out)
		}
		return nil
	})
}
