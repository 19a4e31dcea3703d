package lab_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func mustLab(t *testing.T, cfg lab.Config) *lab.Lab {
	t.Helper()
	require.Root(t)
	l, err := lab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// echoOnce serves one TCP connection in the namespace.
func echoOnce(t *testing.T, n *lab.Namespace, addr string) {
	t.Helper()
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func dial(n *lab.Namespace, addr string) error {
	return n.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, 10*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// The IPv4 Internet of the lab reaches the front and no further.
func TestPaths(t *testing.T) {
	l := mustLab(t, lab.Config{})
	echoOnce(t, l.Front, "203.0.113.5:80")
	if err := dial(l.Client4, "203.0.113.5:80"); err != nil {
		t.Errorf("client4 to front: %v", err)
	}
	echoOnce(t, l.Backend, "10.0.0.10:80")
	if err := dial(l.Front, "10.0.0.10:80"); err != nil {
		t.Errorf("front to backend: %v", err)
	}
	if err := dial(l.Client6, "203.0.113.5:80"); err == nil {
		t.Error("client6 reached an IPv4 address: it must have no IPv4")
	}
}

// The backend cannot hold an IPv6 address.
func TestBackendIsIPv4Only(t *testing.T) {
	l := mustLab(t, lab.Config{})
	err := l.Backend.AddAddr("eth0", netip.MustParsePrefix("2001:db8:f::1/64"))
	if err == nil {
		t.Fatal("an IPv6 address could be added to the backend")
	}
}

func TestNamedLabIsRemoved(t *testing.T) {
	l := mustLab(t, lab.Config{Named: true})
	name := filepath.Join("/run/netns", l.Front.Path)
	if _, err := os.Stat(name); err != nil {
		t.Fatal(err)
	}
	ip := require.Program(t, "ip", "iproute2")
	out, err := exec.Command(ip, "netns", "exec", l.Front.Path, ip, "-4", "address").CombinedOutput()
	if err != nil || !strings.Contains(string(out), lab.FrontV4.String()) {
		t.Errorf("ip netns exec %s: %v\n%s", l.Front.Path, err, out)
	}
	l.Close()
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Fatalf("lstat %s after Close: %v", name, err)
	}
}

// A named namespace whose process is gone is removed by the next lab.
func TestStaleLabIsRemoved(t *testing.T) {
	l := mustLab(t, lab.Config{})
	dead, err := l.Front.Run("true")
	if err != nil {
		t.Fatal(err)
	}
	<-dead.Done()
	stale, err := lab.Abandon(dead.Pid(), "front")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(stale); err != nil {
		t.Fatal(err)
	}
	mustLab(t, lab.Config{})
	if _, err := os.Lstat(stale); !os.IsNotExist(err) {
		t.Fatalf("lstat %s after a new lab was made: %v", stale, err)
	}
}

func TestSnapshotShowsChanges(t *testing.T) {
	l := mustLab(t, lab.Config{})
	before, err := l.Front.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Front.AddAddr("eth0", netip.MustParsePrefix("203.0.113.6/32")); err != nil {
		t.Fatal(err)
	}
	after, err := l.Front.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	diff := lab.Diff(before, after)
	if !slices.ContainsFunc(diff, func(s string) bool { return s[:20] == "+ address 203.0.113." }) {
		t.Fatalf("difference does not show the new address: %q", diff)
	}
	if diff := lab.Diff(before, before); len(diff) != 0 {
		t.Fatalf("difference to itself: %q", diff)
	}
}

// What Run starts is in the namespace and ends with Stop.
func TestRunAndStop(t *testing.T) {
	l := mustLab(t, lab.Config{})
	out, err := l.Backend.Output(context.Background(), "cat", "/proc/sys/net/ipv6/conf/all/disable_ipv6")
	if err != nil || out != "1\n" {
		t.Fatalf("disable_ipv6 in the backend: %q, %v", out, err)
	}
	p, err := l.Front.Run("sh", "-c", "echo ready; sleep 600 & wait")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WaitFor("ready", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(10 * time.Second); err == nil {
		t.Fatal("a shell that was ended by SIGTERM reported success")
	}
}
