package accesslog

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func mustOpen(t testing.TB, spec Spec, opt Options) *Log {
	t.Helper()
	l, err := Open(spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func paths(text string) string {
	return strings.Join(regexp.MustCompile(`GET /\d+`).FindAllString(text, -1), " ")
}

func numbered(n int) *Entry {
	return &Entry{Began: noon, Method: "GET", Target: fmt.Sprintf("/%d", n), Proto: "HTTP/1.1"}
}

// After the file was moved away and Reopen, lines go to a new one.
func TestFileReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := mustOpen(t, Spec{To: path}, Options{})
	l.Write(numbered(1))
	poll(t, "no line", func() bool { return paths(mustRead(t, path)) == "GET /1" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Write(numbered(2))
	poll(t, "the moved file does not go on", func() bool { return paths(mustRead(t, path+".1")) == "GET /1 GET /2" })
	l.Reopen()
	poll(t, "no new file", func() bool { _, err := os.Stat(path); return err == nil })
	l.Write(numbered(3))
	l.Close()
	l.Close()
	if got := paths(mustRead(t, path)); got != "GET /3" {
		t.Errorf("the new file has %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o027 != 0 {
		t.Errorf("the file is open to others: %v, %v", info.Mode(), err)
	}
	l.Write(numbered(4))
	if l.Lost() != 1 {
		t.Errorf("a line after Close: %d lost", l.Lost())
	}
}

// A directory that is gone does not stop the old file.
func TestFileReopenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var out safeBuffer
	l := mustOpen(t, Spec{To: dir + "/x.log"}, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	moved := dir + "-moved"
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	poll(t, "not told", func() bool { return strings.Contains(out.String(), "access log not opened anew") })
	l.Write(numbered(1))
	l.Close()
	if got := paths(mustRead(t, moved+"/x.log")); got != "GET /1" {
		t.Errorf("%q", got)
	}
}

// A full disk loses lines and counts them; nothing waits.
func TestFullDisk(t *testing.T) {
	var out safeBuffer
	l := mustOpen(t, Spec{To: "/dev/full"}, Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	for i := range 10 {
		l.Write(numbered(i))
	}
	poll(t, "not counted", func() bool { return l.Lost() == 10 })
	poll(t, "not told", func() bool {
		return strings.Contains(out.String(), `msg="access log lines lost" to=/dev/full`) && strings.Contains(out.String(), "no space left on device")
	})
}

// A reader that never reads costs at most the queue, and no Write waits.
func TestStuckReader(t *testing.T) {
	release := make(chan bool)
	l := mustOpen(t, Spec{To: "stdout"}, Options{Stdout: writerFunc(func(p []byte) (int, error) { <-release; return len(p), nil })})
	defer close(release)
	e := numbered(1)
	e.Agent = strings.Repeat("x", maxField)
	const lines = 4000
	slowest := time.Duration(0)
	for range lines {
		began := time.Now()
		l.Write(e)
		slowest = max(slowest, time.Since(began))
	}
	if slowest > 5*time.Second {
		t.Errorf("a Write took %s", slowest)
	}
	most := int64(2 * maxQueued / maxField)
	if l.Lost() == 0 || l.Lost() < lines-most {
		t.Errorf("%d lines of %d lost", l.Lost(), lines)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > maxQueued {
		t.Errorf("%d bytes queued", len(l.queue))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Lines of many goroutines arrive whole, each once.
func TestManyWriters(t *testing.T) {
	var out safeBuffer
	l := mustOpen(t, Spec{To: "stdout", Format: JSON}, Options{Stdout: &out})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				l.Write(numbered(g*1000 + i))
			}
		})
	}
	wg.Wait()
	l.Close()
	seen := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		seen[line] = true
	}
	if len(seen) != 1600 || l.Lost() != 0 {
		t.Errorf("%d lines, %d lost", len(seen), l.Lost())
	}
}

// wantSyslog is RFC 5424 §6, with the message of numbered.
var wantSyslog = regexp.MustCompile(`^<134>1 2026-11-22T03:00:00\.123456Z front_1 genkan \d+ access - - - - \[22/Nov/2026:12:00:00 \+0900\] "GET /(\d+) HTTP/1\.1" 0 0 "-" "-"$`)

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.sock")
	unix := func() net.PacketConn {
		conn, err := net.ListenPacket("unixgram", path)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	udp, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		to   string
		conn net.PacketConn
	}{{"syslog:" + path, unix()}, {"syslog:udp/" + udp.LocalAddr().String(), udp}} {
		l := mustOpen(t, Spec{To: row.to}, Options{Front: "front 1"})
		for i := range 3 {
			l.Write(numbered(i))
		}
		for i := range 3 {
			if line := receive(t, row.conn); !wantSyslog.MatchString(line) || wantSyslog.FindStringSubmatch(line)[1] != fmt.Sprint(i) {
				t.Errorf("%s: datagram %q", row.to, line)
			}
		}
		row.conn.Close()
		if row.conn == udp {
			continue
		}
		// A syslog that was started again is found again.
		os.Remove(path)
		conn := unix()
		l.Write(numbered(9))
		if line := receive(t, conn); !strings.Contains(line, "GET /9") {
			t.Errorf("after a restart: %q", line)
		}
		conn.Close()
		l.Write(numbered(10))
		poll(t, "not counted", func() bool { return l.Lost() == 1 })
	}
}

func receive(t *testing.T, conn net.PacketConn) string {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 65536)
	n, _, err := conn.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestOpenErrors(t *testing.T) {
	for _, row := range []struct{ to, want string }{
		{"access.log", `access log "access.log" is nowhere; write "stdout", a file with its whole path, "syslog", "syslog:/run/log.sock" or "syslog:udp/192.0.2.1:514"`},
		{"syslog:udp/loghost:514", `access log "syslog:udp/loghost:514": write the address and port of the syslog server, as "syslog:udp/192.0.2.1:514"`},
		{"/nowhere/access.log", `access log "/nowhere/access.log": no such file or directory; let this user write there`},
		{"syslog:/nowhere/log.sock", `access log: syslog dial unixgram /nowhere/log.sock: connect: no such file or directory; start it, or name where it listens`},
	} {
		if _, err := Open(Spec{To: row.to}, Options{}); fmt.Sprint(err) != row.want {
			t.Errorf("%v\nwant %s", err, row.want)
		}
	}
}

// What a line costs, in CPU of all goroutines, at 20,000 lines a second.
func BenchmarkLine(b *testing.B) {
	for _, format := range []struct {
		name string
		Format
	}{{"combined", Combined}, {"json", JSON}} {
		b.Run(format.name, func(b *testing.B) {
			l := mustOpen(b, Spec{To: filepath.Join(b.TempDir(), "access.log"), Format: format.Format}, Options{})
			e := request(b)
			b.ReportAllocs()
			before, lines := cpuTime(b), 0
			for b.Loop() {
				for range 1000 {
					l.Write(&e)
				}
				lines += 1000
				time.Sleep(50 * time.Millisecond)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(lines), "cpu-ns/line")
			b.ReportMetric(float64(l.Lost()), "lost")
		})
	}
}

// cpuTime is the CPU that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
