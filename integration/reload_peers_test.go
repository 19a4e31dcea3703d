package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// A peer is a proxy whose reloads are counted by the same script as ours.
type peer struct {
	name    string
	program string // and its Debian package, "" for ours
	debian  string
	args    []string // CONFIG and DIR stand for paths
	file    string   // of the configuration
	config  string   // LISTEN, BACKEND and VERSION stand for what changes
	reload  []string // a command; nil: signal
	signal  syscall.Signal
}

var peers = []peer{
	{name: "genkan", args: []string{"run", "-c", "CONFIG", "--socket", "DIR/sock", "--log-level", "warn"}, file: "genkan.toml", signal: syscall.SIGHUP,
		config: "state_dir = \"DIR\"\n[site.s]\nhosts = [\"default\"]\nlisten = \"LISTEN\"\nto = \"BACKEND\"\naccess = [\"deny 198.51.100.VERSION\", \"allow all\"]\n"},
	{name: "HAProxy", program: "/usr/sbin/haproxy", debian: "haproxy", args: []string{"-W", "-f", "CONFIG"}, file: "haproxy.cfg", signal: syscall.SIGUSR2,
		config: "global\n  stats socket DIR/sock mode 600 level admin expose-fd listeners\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n" +
			"frontend f\n  bind LISTEN\n  http-request deny if { src 198.51.100.VERSION }\n  default_backend b\nbackend b\n  server s BACKEND\n"},
	{name: "nginx", program: "/usr/sbin/nginx", debian: "nginx", args: []string{"-p", "DIR", "-c", "CONFIG", "-e", "DIR/error.log", "-g", "daemon off;"}, file: "nginx.conf", signal: syscall.SIGHUP,
		config: "pid DIR/pid;\nworker_processes 2;\nevents {}\nhttp {\n  access_log off;\n  client_body_temp_path DIR/body;\n  proxy_temp_path DIR/proxy;\n  fastcgi_temp_path DIR/f;\n  uwsgi_temp_path DIR/u;\n  scgi_temp_path DIR/s;\n" +
			"  upstream b { server BACKEND; keepalive 16; }\n  server {\n    listen LISTEN;\n    deny 198.51.100.VERSION;\n    location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; }\n  }\n}\n"},
	{name: "Caddy", program: "caddy", debian: "caddy", args: []string{"run", "--config", "CONFIG", "--adapter", "caddyfile"}, file: "Caddyfile",
		reload: []string{"reload", "--config", "CONFIG", "--adapter", "caddyfile", "--address", "unix/DIR/admin"},
		config: "{\n  admin unix/DIR/admin\n  auto_https off\n}\nhttp://:8088 {\n  bind 127.0.0.1\n  @d remote_ip 198.51.100.VERSION\n  respond @d 403\n  reverse_proxy BACKEND\n}\n"},
}

// The reload script of all proxies alike: clients post on new and on kept
// connections, and every failure counts. Ours has none. What the others have is
// shown.
func TestReloadBesidePeers(t *testing.T) {
	w := mustWorld(t)
	backend := startPeerBackend(t, w)
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			if p.program == "" {
				p.program = w.program
			} else {
				p.program = require.Program(t, p.program, p.debian)
			}
			r := p.start(t, w, backend)
			reloads := times(100)
			for n := 1; n <= reloads; n++ {
				r.reload(t, n)
				r.mustAsk(t, 16)
			}
			asked, failed := r.stop()
			t.Logf("%s: %d reloads: new connections %d of %d failed, kept ones %d of %d; first: %v", p.name, reloads,
				failed[0], asked[0], failed[1], asked[1], r.firsts())
			if p.debian == "" && failed != [2]int64{} {
				t.Errorf("%d and %d requests failed", failed[0], failed[1])
			}
		})
	}
}

// startPeerBackend answers after 5 ms, in the front's namespace.
func startPeerBackend(t *testing.T, w *world) string {
	t.Helper()
	var l net.Listener
	err := w.Front.Do(func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.2:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(5 * time.Millisecond) // the work of a backend
		_, _ = io.WriteString(w, loadPage)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// A peerRun is a peer under load.
type peerRun struct {
	peer
	w       *world
	dir     string
	backend string
	process *lab.Process
	quit    chan struct{}
	clients sync.WaitGroup
	asked   [2]atomic.Int64 // on new connections, on kept ones
	failed  [2]atomic.Int64

	mu    sync.Mutex // guards first
	first [2]error
}

const peerListen = "127.0.0.1:8088"

func (p peer) start(t *testing.T, w *world, backend string) *peerRun {
	t.Helper()
	dir, err := os.MkdirTemp(w.Dir, "peer")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // nginx's workers are somebody else
		t.Fatal(err)
	}
	r := &peerRun{peer: p, w: w, dir: dir, backend: backend, quit: make(chan struct{})}
	r.write(t, 0)
	cmd := exec.Command(p.program, r.fill(p.args)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	if r.process, err = w.Front.RunCmd(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, r.process) })
	waitListening(t, w.Front, "127.0.0.1", 8088)
	for i := range 8 {
		r.clients.Go(func() { r.run(i % 2) })
	}
	t.Cleanup(func() { r.stop() })
	r.mustAsk(t, 8)
	return r
}

func (r *peerRun) fill(args []string) []string {
	var out []string
	for _, a := range args {
		out = append(out, strings.NewReplacer("CONFIG", filepath.Join(r.dir, r.file), "DIR", r.dir).Replace(a))
	}
	return out
}

func (r *peerRun) write(t *testing.T, version int) {
	t.Helper()
	text := strings.NewReplacer("LISTEN", peerListen, "BACKEND", r.backend, "DIR", r.dir, "VERSION", fmt.Sprint(version%200)).Replace(r.config)
	mustWrite(t, filepath.Join(r.dir, r.file), text)
}

func (r *peerRun) reload(t *testing.T, version int) {
	t.Helper()
	r.write(t, version)
	if r.peer.reload == nil {
		if err := r.process.Signal(r.signal); err != nil {
			t.Fatal(err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if out, err := r.w.Front.Output(ctx, r.program, r.fill(r.peer.reload)...); err != nil {
		t.Fatalf("%s %v: %v\n%s", r.program, r.peer.reload, err, out)
	}
}

// mustAsk waits for some more requests of each kind, and for a quarter of a
// second: so often the script reloads.
func (r *peerRun) mustAsk(t *testing.T, more int64) {
	t.Helper()
	begin, was := time.Now(), [2]int64{r.asked[0].Load(), r.asked[1].Load()}
	waitUntil(t, patience, "requests", func() error {
		if r.asked[0].Load() < was[0]+more || r.asked[1].Load() < was[1]+more || time.Since(begin) < 250*time.Millisecond {
			return errors.New("not yet")
		}
		return nil
	})
}

// run asks again and again, on one connection as long as that lasts if kept is 1.
func (r *peerRun) run(kept int) {
	var c net.Conn
	var lines *bufio.Reader
	closed := func() {
		if c != nil {
			c.Close()
			c = nil
		}
	}
	defer closed()
	for {
		select {
		case <-r.quit:
			return
		case <-time.After(2 * time.Millisecond):
		}
		r.asked[kept].Add(1)
		err := error(nil)
		if c == nil {
			err = r.w.Front.Do(func() (err error) {
				c, err = net.DialTimeout("tcp4", peerListen, answerWithin)
				return err
			})
			if err == nil {
				lines = bufio.NewReader(c)
			}
		}
		ends := true
		if err == nil {
			ends, err = post(c, lines, kept == 1)
		}
		if err != nil {
			r.failed[kept].Add(1)
			r.mu.Lock()
			if r.first[kept] == nil {
				r.first[kept] = err
			}
			r.mu.Unlock()
		}
		if ends || err != nil {
			closed()
		}
	}
}

// post asks by hand: no transport tries again in silence. It tells whether the
// server ends the connection.
func post(c net.Conn, lines *bufio.Reader, keep bool) (ends bool, err error) {
	connection := "keep-alive"
	if !keep {
		connection = "close"
	}
	if err := c.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return true, err
	}
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: load.test\r\nConnection: %s\r\nContent-Length: 4\r\n\r\nping", connection); err != nil {
		return true, err
	}
	resp, err := http.ReadResponse(lines, &http.Request{Method: http.MethodPost})
	return err == nil && resp.Close, checkPage(resp, err)
}

func (r *peerRun) stop() (asked, failed [2]int64) {
	select {
	case <-r.quit:
	default:
		close(r.quit)
	}
	r.clients.Wait()
	for i := range 2 {
		asked[i], failed[i] = r.asked[i].Load(), r.failed[i].Load()
	}
	return asked, failed
}

func (r *peerRun) firsts() []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first[:]
}
