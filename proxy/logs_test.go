package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/acl"
	"genkan/proxy/accesslog"
)

// logged waits until a JSON log has n lines, and gives them.
func logged(t *testing.T, path string, n int) []map[string]any {
	t.Helper()
	var lines []map[string]any
	poll(t, fmt.Sprintf("fewer than %d lines in the log", n), func() bool {
		lines = nil
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var one map[string]any
			if err := json.Unmarshal([]byte(line), &one); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			lines = append(lines, one)
		}
		return len(lines) >= n
	})
	return lines
}

// pick spells some keys of a line, in order.
func pick(line map[string]any, keys ...string) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprint(line[k]))
	}
	return strings.Join(parts, " ")
}

// A line says who came, which rule decided, who answered and how long it took,
// whatever became of the request.
func TestAccessLogOfSites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	spec := accesslog.Spec{To: path, Format: accesslog.JSON}
	listen, backend, down := mustListen(t, "[::1]:0", "127.0.0.1:0"), startWeb(t, "b"), unusedAddr(t)
	s := start(t, Config{
		Front: "f1", AccessLog: spec, Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.65.0.0/16")}},
		Sites: []Site{
			{Name: "a.test", Listen: listen, To: mustBackend(t, backend), Access: mustRules(t, "deny 127.0.0.2", "allow all"), Announce: []string{"pseudo-ipv4"}, AccessLog: spec,
				Trust: Trust{From: []acl.Prefix{mustPrefix(t, "127.0.0.3/32")}}},
			{Name: "denied.test", Listen: listen, To: mustBackend(t, backend), Access: mustRules(t, "deny all"), AccessLog: spec},
			{Name: "down.test", Listen: listen, To: mustBackend(t, down), Access: acl.AllowAll(), AccessLog: spec},
			{Name: "silent.test", Listen: listen, To: mustBackend(t, backend), Access: acl.AllowAll()},
		},
	})
	for i, row := range []struct{ at, request, want string }{
		{"::1", "GET /x?y HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \"evil\"\r\nReferer: http://r.test/\r\n",
			"f1 a.test ::1 ipv6 false HTTP/1.1 GET a.test /x?y http://r.test/ \"evil\" 200 allow allow all genkan.toml:2:10 " + backend + " 127.65.0.1 <nil>"},
		{"127.0.0.1", "GET / HTTP/1.1\r\nHost: A.test.:80\r\n",
			"f1 a.test 127.0.0.1 ipv4 false HTTP/1.1 GET a.test:80 / <nil> <nil> 200 allow allow all genkan.toml:2:10 " + backend + " <nil> <nil>"},
		{"127.0.0.1", "GET / HTTP/1.1\r\nHost: denied.test\r\n",
			"f1 denied.test 127.0.0.1 ipv4 false HTTP/1.1 GET denied.test / <nil> <nil> 403 deny deny all genkan.toml:1:10 <nil> <nil> <nil>"},
		{"127.0.0.1", "GET / HTTP/1.1\r\nHost: down.test\r\n",
			"f1 down.test 127.0.0.1 ipv4 false HTTP/1.1 GET down.test / <nil> <nil> 502 allow <nil> <nil> <nil> <nil> backend " + down + ": connection refused after"},
		{"127.0.0.1", "GET / HTTP/1.1\r\nHost: nobody.test\r\n",
			"f1 <nil> 127.0.0.1 ipv4 false HTTP/1.1 GET nobody.test / <nil> <nil> 421 deny <nil> <nil> <nil> <nil> <nil>"},
		{"127.0.0.1", "GET / HTTP/1.1\r\nHost: a,b\r\n",
			"f1 <nil> 127.0.0.1 ipv4 false <nil> <nil> <nil> <nil> <nil> <nil> 400 deny <nil> <nil> <nil> <nil> host \"a,b\": \",\" is not a byte of a host name"},
	} {
		ask(t, s.at(t, "127.0.0.1"), "GET / HTTP/1.0\r\nHost: silent.test\r\n\r\n") // leaves no line
		ask(t, s.at(t, row.at), row.request+"Connection: close\r\n\r\n")
		line := logged(t, path, i+1)[i]
		got := pick(line, "front", "site", "client", "family", "tunnel", "proto", "method", "host", "target", "referer", "agent", "status", "verdict", "rule", "at", "backend", "pool", "cause")
		if !strings.HasPrefix(got, row.want) {
			t.Errorf("%q\n%s\nwant\n%s", row.request, got, row.want)
		}
		when, err := time.Parse(time.RFC3339Nano, fmt.Sprint(line["time"]))
		if err != nil || time.Since(when) > time.Minute || line["port"] == nil || row.at == "::1" && (line["waited"] == nil || line["lasted"].(float64) < line["waited"].(float64)) {
			t.Errorf("times and port of %v", line)
		}
	}
	if st := s.Stats(); len(st.Logs) != 1 || st.Logs[0] != (LogStats{path, 0}) {
		t.Errorf("logs %v", st.Logs)
	}
}

// A forward's line comes when its connection ends.
func TestAccessLogOfForwards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	spec := accesslog.Spec{To: path, Format: accesslog.JSON}
	server, down := startBackend(t, echo), unusedAddr(t)
	s := start(t, Config{
		Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.65.0.0/16")}},
		Forwards: []Forward{
			{Name: "echo", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, server), Access: acl.AllowAll(), Source: SourcePool, AccessLog: spec},
			{Name: "denied", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, server), Access: mustRules(t, "deny all"), AccessLog: spec},
			{Name: "down", Listen: mustListen(t, "127.0.0.2:0"), To: mustBackend(t, down), Access: acl.AllowAll(), AccessLog: spec},
		},
	})
	conn := mustDial(t, s.at(t, "::1"))
	io.WriteString(conn, "hello")
	io.ReadFull(conn, make([]byte, 5))
	conn.Close()
	first := logged(t, path, 1)[0]
	if got, want := pick(first, "forward", "network", "client", "family", "status", "sent", "received", "verdict", "backend", "pool"),
		"echo tcp ::1 ipv6 200 5 5 allow "+server+" 127.65.0.1"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	wantReset(t, s.at(t, "127.0.0.1"))
	if got, want := pick(logged(t, path, 2)[1], "forward", "status", "verdict", "rule", "backend"), "denied 403 deny deny all <nil>"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	wantReset(t, s.at(t, "127.0.0.2"))
	if got := pick(logged(t, path, 3)[2], "forward", "status", "cause"); !strings.HasPrefix(got, "down 502 backend "+down+": connection refused after ") {
		t.Errorf("%s", got)
	}
}

// A log whose reader is stuck holds nobody up, neither requests nor a reload
// nor the stop.
func TestAccessLogStuck(t *testing.T) {
	stuck := make(chan bool)
	defer close(stuck)
	spec := accesslog.Spec{To: "stdout"}
	cfg := Config{
		Stdout: stuckWriter{stuck},
		Sites:  []Site{{Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), AccessLog: spec}},
	}
	s := start(t, cfg)
	for range 50 {
		if resp, _ := get(t, s.at(t, "127.0.0.1"), "/"); resp.StatusCode != 200 {
			t.Fatal(resp.StatusCode)
		}
	}
	cfg.Sites[0].AccessLog = accesslog.Spec{}
	if err := s.Apply(cfg); err != nil {
		t.Error(err)
	}
	if resp, _ := get(t, s.at(t, "127.0.0.1"), "/"); resp.StatusCode != 200 {
		t.Error(resp.StatusCode)
	}
}

type stuckWriter struct{ until chan bool }

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w.until
	return len(p), nil
}

// A reload that cannot open a log changes nothing.
func TestAccessLogReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	site := Site{Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), AccessLog: accesslog.Spec{To: path, Format: accesslog.JSON}}
	s := start(t, Config{Sites: []Site{site}})
	bad := site
	bad.AccessLog.To = "/nowhere/access.log"
	if err := s.Apply(Config{Sites: []Site{bad}}); err == nil || err.Error() != `access log "/nowhere/access.log": no such file or directory; let this user write there` {
		t.Errorf("%v", err)
	}
	get(t, s.at(t, "127.0.0.1"), "/")
	logged(t, path, 1)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	s.ReopenLogs()
	poll(t, "not opened anew", func() bool { _, err := os.Stat(path); return err == nil })
	get(t, s.at(t, "127.0.0.1"), "/")
	logged(t, path, 1)
}

// A UDP session has its line, too.
func TestAccessLogOfUDP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	to := startUDPBackend(t, echoDatagram)
	s := start(t, Config{Forwards: []Forward{{
		Name: "dns", Listen: mustListen(t, "udp/127.0.0.1:0"), To: mustBackend(t, to), Access: acl.AllowAll(), Idle: time.Second,
		AccessLog: accesslog.Spec{To: path, Format: accesslog.JSON},
	}}})
	conn, err := net.Dial("udp", s.at(t, "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("hello"))
	got := pick(logged(t, path, 1)[0], "forward", "network", "client", "status", "sent", "received", "backend", "verdict")
	if want := "dns udp 127.0.0.1 200 5 5 " + to + " allow"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What strangers send is one line of the log, whatever it is.
func TestAccessLogInjection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(), AccessLog: accesslog.Spec{To: path},
	}}})
	agent := "\" 200 0 \"-\" \"\x1b]0;owned\x07\u2028\x85 \\"
	get(t, s.at(t, "127.0.0.1"), "/\"%0a127.0.0.9", "User-Agent: x"+strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1 // refused by the front
		}
		return r
	}, agent)+"x", "Referer: \"\xff\t")
	var text []byte
	poll(t, "no line", func() bool { text, _ = os.ReadFile(path); return len(text) > 0 })
	line := string(text)
	if strings.Count(line, "\n") != 1 || strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r >= 0x7f }) ||
		!strings.HasPrefix(line, "127.0.0.1 - - [") || !strings.Contains(line, `"GET /\"%0a127.0.0.9 HTTP/1.1" 200 `) || !strings.HasSuffix(line, "x\"\n") {
		t.Errorf("%q", line)
	}
}
