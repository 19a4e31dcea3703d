package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// native6 is an IPv6 address that the front has besides, from another provider.
var native6 = netip.MustParseAddr("2001:db8:f::5")

// giveNativeIPv6 makes the ISP carry IPv6 between the front and the IPv6 Internet.
func (w *world) giveNativeIPv6(t *testing.T) {
	t.Helper()
	for _, setting := range []string{"all/disable_ipv6=0", "lo/disable_ipv6=0", "front0/disable_ipv6=0", "relay0/disable_ipv6=0", "all/accept_dad=0", "front0/accept_dad=0", "relay0/accept_dad=0", "all/forwarding=1"} {
		key, value, _ := strings.Cut(setting, "=")
		if err := w.ISP.Sysctl("net/ipv6/conf/"+key, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []struct {
		n          *lab.Namespace
		link, addr string
	}{{w.ISP, "front0", "2001:db8:f::1/64"}, {w.Front, "eth0", native6.String() + "/64"}, {w.ISP, "relay0", "2001:db8:e::254/64"}, {w.Relay, "eth0", "2001:db8:e::1/64"}} {
		if err := a.n.AddAddr(a.link, netip.MustParsePrefix(a.addr)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []struct {
		n              *lab.Namespace
		link, dst, via string
	}{{w.Front, "eth0", "::/0", "2001:db8:f::1"}, {w.ISP, "relay0", "2001:db8:6::/64", "2001:db8:e::1"}, {w.Relay, "eth0", "2001:db8:f::/64", "2001:db8:e::254"}} {
		if err := r.n.AddRoute(r.link, netip.MustParsePrefix(r.dst), netip.MustParseAddr(r.via)); err != nil {
			t.Fatal(err)
		}
	}
}

// A session is an SSH client whose server sends back each line.
type session struct {
	in    io.WriteCloser
	lines chan string
}

// startSession logs in from client6, as the operator does who is about to change the network below himself.
func (w *world) startSession(t *testing.T, to netip.Addr) *session {
	t.Helper()
	key := filepath.Join(w.Dir, "hostkey")
	cmd := exec.Command(require.Program(t, "ssh", "openssh-client"), "-F", "/dev/null", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "TCPKeepAlive=no", "-p", "2222", "root@"+to.String(), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = theirs
	if err := w.Client6.Start(cmd); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	s := &session{in, make(chan string, 100)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		<-read
		out.Close()
	})
	return s
}

// echo says something and waits until it comes back.
func (s *session) echo(word string, within time.Duration) error {
	if word != "" {
		if _, err := fmt.Fprintln(s.in, word); err != nil {
			return err
		}
	}
	select {
	case line := <-s.lines:
		if word != "" && line != word {
			return fmt.Errorf("came back: %q", line)
		}
		return nil
	case <-time.After(within):
		return os.ErrDeadlineExceeded
	}
}

// TestConfirmSavesTheSession: the operator's SSH session comes over the IPv6 that the tunnel's default route cuts off.
// He cannot confirm, and the session comes back by itself.
func TestConfirmSavesTheSession(t *testing.T) {
	w := mustWorld(t)
	w.giveNativeIPv6(t)
	startSSHD(t, w, "[::]:2222")
	before := mustSnapshot(t, w.Front)
	s := w.startSession(t, native6)
	if err := s.echo("before", patience); err != nil {
		t.Fatal(err)
	}
	const deadline = 6 * time.Second
	up := []string{"tunnel", "up", "--prefix", lab.SixRD.String(), "--relay", lab.RelayV4.String()}
	if got := w.ask(t, up...); !strings.Contains(got, "an IPv6 default route exists (default via 2001:db8:f::1 dev eth0 metric 1024); it is not touched") {
		t.Fatalf("without --replace: %s", got)
	}
	if err := s.echo("refused", patience); err != nil {
		t.Fatal(err)
	}
	got := w.askAndLeave(t, append(up, "--replace", "--confirm", deadline.String())...)
	if !strings.Contains(got, "The tunnel is up") {
		t.Fatalf("up: %s", got)
	}
	begin := time.Now()
	if err := s.echo("during", deadline/3); err == nil {
		t.Error("the session is not cut: the test proves nothing")
	}
	if got := w.ask(t, append(up, "--replace")...); !strings.Contains(got, "waits for its confirmation until") {
		t.Errorf("a second up: %s", got)
	}
	if err := s.echo("", 2*patience); err != nil {
		t.Fatalf("the session is lost: %v", err)
	}
	t.Logf("the session was cut, and came back %v after the tunnel was up, to be confirmed within %v", time.Since(begin).Round(time.Millisecond), deadline)
	if err := s.echo("after", patience); err != nil {
		t.Errorf("after all: %v", err)
	}
	checkUntouched(t, w.Front, before, "after the deadline")
}

// askAndLeave runs a command that leaves a process behind.
func (w *world) askAndLeave(t *testing.T, args ...string) string {
	t.Helper()
	cmd, err := w.Private(w.Front, w.program, args...)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("genkan %q does not end", args)
	}
	return p.Output()
}
