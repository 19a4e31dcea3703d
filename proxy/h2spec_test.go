package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/acl"
)

// h2spec's strict tests hold with prior knowledge and over TLS; also where the
// answer does not wait for the request, be it the backend's or our own.
func TestH2spec(t *testing.T) {
	program := filepath.Join(t.TempDir(), "h2spec")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/summerwind/h2spec/cmd/h2spec").CombinedOutput(); err != nil {
		t.Fatalf("go build h2spec: %v\n%s", err, out)
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/eager" {
			io.Copy(io.Discard, r.Body)
		}
		io.WriteString(w, "some content\n")
	}))
	t.Cleanup(backend.Close)
	to := strings.TrimPrefix(backend.URL, "http://")
	_, _, secure := startFronts(t, to, func(c *Config) { c.Sites[0].Hosts = []string{"default"} })
	plain := func(rules *acl.Policy) string {
		s := start(t, Config{Sites: []Site{{
			Name: "a.test", Hosts: []string{"default"}, Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, to), Access: rules,
		}}})
		return s.at(t, "127.0.0.1")
	}
	open, closed := plain(acl.AllowAll()), plain(mustRules(t, "deny all"))
	for _, row := range []struct {
		name, addr string
		args       []string
	}{
		{"plain", open, nil},
		{"eager", open, []string{"-P", "/eager"}},
		{"denied", closed, nil},
		{"tls", secure, []string{"-t", "-k"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			colon := strings.LastIndexByte(row.addr, ':')
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			args := append([]string{"--strict", "-h", row.addr[:colon], "-p", row.addr[colon+1:], "-o", fmt.Sprint(patience.Seconds())}, row.args...)
			out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "146 tests, 146 passed, 0 skipped, 0 failed") {
				_, failures, _ := strings.Cut(string(out), "Failures:")
				t.Errorf("%v: %s\n%s", err, failures, out[max(len(out)-200, 0):])
			}
		})
	}
}
