package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// adminGet asks an admin listener and returns the status and the body.
func adminGet(t *testing.T, method, addr, path string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		switch name {
		case "":
		case "Host":
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// The admin listener shows state and metrics to those who mean it, moves with a reload, and is gone at the end.
func TestAdmin(t *testing.T) {
	dir := t.TempDir()
	file, blocked := filepath.Join(dir, "genkan.toml"), filepath.Join(dir, "blocked.txt")
	echo := startEcho(t)
	write := func(listen string, rules string) {
		text := fmt.Sprintf("state_dir = %q\n[admin]\nlisten = %q\n[lists]\nblocked = { file = %q }\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = %q\naccess = [%s]\n",
			dir, listen, blocked, echo, rules)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(blocked, []byte("192.0.2.1\n2001:db8::/32\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	write("127.0.0.1:0", `"deny blocked", "limit 2/1h", "allow 127.0.0.1"`)
	d := startAdmin(t, file)
	for range 2 {
		c := mustDial(t, d.forward)
		checkEcho(t, c)
		c.Close()
	}
	checkDenied(t, d.forward)

	rows := []struct {
		method, path, header string
		status               int
		body                 string
	}{
		{"GET", "/healthz", "", 200, "ipv4 ready\nipv6 unused\n"},
		{"GET", "/healthz/ipv4", "", 200, "ipv4 ready\n"},
		{"GET", "/healthz/ipv6", "", 503, "ipv6 unused\n"},
		{"GET", "/healthz", "Host: localhost:6464", 200, "ipv4 ready\nipv6 unused\n"},
		{"GET", "/healthz", "Host: [::1]:6464", 200, "ipv4 ready\nipv6 unused\n"},
		{"GET", "/healthz", "Host: genkan.example", 421, "Host is not this machine; write localhost or the address of [admin]\n"},
		{"GET", "/metrics", "Host: 127.0.0.1.example:6464", 421, "Host is not this machine; write localhost or the address of [admin]\n"},
		{"GET", "/healthz", "Origin: http://localhost", 403, "not for web pages\n"},
		{"HEAD", "/healthz", "", 200, ""},
		{"HEAD", "/healthz/ipv6", "", 503, ""},
		{"POST", "/reload", "", 405, "only GET; changes are made by genkan list and genkan reload\n"},
		{"GET", "/lists", "", 404, "404 page not found\n"},
		{"GET", "/v1/config", "", 404, "404 page not found\n"},
		{"GET", "/v1/connections", "", 404, "404 page not found\n"},
		{"GET", "/healthz/", "", 404, "404 page not found\n"}, // the path is matched as it is
		{"GET", "/HEALTHZ", "", 404, "404 page not found\n"},
		{"GET", "/%2e/v1/config", "", 404, "404 page not found\n"},
		{"GET", "//v1/config", "", 404, "404 page not found\n"},
	}
	for _, row := range rows {
		status, body := adminGet(t, row.method, d.admin, row.path, row.header)
		if status != row.status || body != row.body {
			t.Errorf("%s %s %s: %d %q, want %d %q", row.method, row.path, row.header, status, body, row.status, row.body)
		}
	}
	t.Logf("the admin listener: %d questions, each answered or refused as it should", len(rows))
	if status, body := adminGet(t, "GET", d.admin, "/status"); status != 200 || !strings.Contains(body, `"name":"a"`) {
		t.Errorf("/status: %d %s", status, body)
	}

	own := fmt.Sprintf(`front=%q`, hostname())
	rule := func(col int, rule, verdict string) string {
		return fmt.Sprintf(`genkan_rule_verdicts_total{at="%s:9:%d",%s,kind="forward",name="a",rule=%q,verdict=%q}`, file, col, own, rule, verdict)
	}
	checkMetrics(t, d.admin, map[string]string{
		`genkan_connections_accepted_total{family="ipv4",` + own + `}`:                                   "3",
		`genkan_connections_accepted_total{family="ipv6",` + own + `}`:                                   "0",
		`genkan_connections_hostile_total{family="ipv6",` + own + `}`:                                    "0",
		`genkan_denied_total{family="ipv4",` + own + `}`:                                                 "1",
		`genkan_service_allowed_total{` + own + `,kind="forward",name="a"}`:                              "2",
		`genkan_backend_up{backend="` + echo + `",` + own + `,kind="forward",name="a"}`:                  "1",
		`genkan_backend_connections_total{backend="` + echo + `",` + own + `,kind="forward",name="a"}`:   "2",
		`genkan_service_bytes_total{direction="to_backend",` + own + `,kind="forward",name="a"}`:         "36",
		`genkan_list_entries{` + own + `,list="blocked"}`:                                                "2",
		`genkan_list_error{` + own + `,list="blocked"}`:                                                  "0",
		`genkan_ready{family="ipv4",` + own + `}`:                                                        "1",
		rule(11, "deny blocked", "denied"):                                                               "0",
		rule(27, "limit 2/1h", "gated"):                                                                  "1",
		rule(41, "allow 127.0.0.1", "allowed"):                                                           "2",
		`genkan_rule_verdicts_total{at="",` + own + `,kind="forward",name="a",rule="",verdict="denied"}`: "0",
	})

	// A family that nothing listens for is no alarm: GenkanFamilyClosed is genkan_ready == 0.
	if _, body := adminGet(t, "GET", d.admin, "/metrics", ""); strings.Contains(body, `genkan_ready{family="ipv6"`) {
		t.Error("genkan_ready tells of IPv6, which is unused")
	}

	// A reload that fails moves nothing, even if the new address was free.
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()
	write(free, `"allow 10.1.2.3/8"`)
	d.reload(t, "reload refused")
	if status, _ := adminGet(t, "GET", d.admin, "/healthz"); status != 200 {
		t.Errorf("after a refused reload: %d", status)
	}
	// One that cannot have its address is refused, and the rules stay.
	write(echo, `"deny all"`)
	d.reload(t, "reload refused")
	checkMetrics(t, d.admin, map[string]string{rule(41, "allow 127.0.0.1", "allowed"): "2"})
	// The counts of the rule that stays go on.
	write(free, `"allow 127.0.0.1"`)
	d.reload(t, "reloaded")
	checkMetrics(t, free, map[string]string{rule(11, "allow 127.0.0.1", "allowed"): "2"})
	if _, err := http.Get("http://" + d.admin + "/healthz"); err == nil {
		t.Error("the admin listener before the reload is still there")
	}
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if _, err := http.Get("http://" + free + "/healthz"); err == nil {
		t.Error("the admin listener outlives the daemon")
	}
}

// checkMetrics wants values of the metrics that have these names and labels.
func checkMetrics(t *testing.T, addr string, want map[string]string) {
	t.Helper()
	status, body := adminGet(t, "GET", addr, "/metrics")
	if status != 200 {
		t.Fatalf("/metrics: %d %s", status, body)
	}
	for name, value := range want {
		line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (.*)$`).FindStringSubmatch(body)
		if line == nil || line[1] != value {
			t.Errorf("%s: %q, want %s", name, line, value)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// An adminProcess is a daemon with an admin listener and one forward.
type adminProcess struct {
	*process
	admin, forward string
}

func startAdmin(t *testing.T, file string) adminProcess {
	t.Helper()
	d := startProcess(t, "run", "-c", file, "--socket", "")
	return adminProcess{d, d.waitLog(t, "admin listens")["on"], d.addr}
}

// reload sends SIGHUP and waits for an event.
func (d adminProcess) reload(t *testing.T, event string) {
	t.Helper()
	if err := d.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.waitLog(t, event)
}
