package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/proxy"
)

// The page is whole without JavaScript, lets a browser load nothing of others, and names no client.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "genkan.toml")
	text := fmt.Sprintf("state_dir = %q\n[admin]\nlisten = \"127.0.0.1:0\"\n[lists]\nblocked = [\"127.0.0.77\"]\n"+
		"[forward.a]\nlisten = \"127.0.0.1:0\"\nto = %q\naccess = [\"deny blocked\", \"allow all\"]\n", dir, startEcho(t))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d := startAdmin(t, file)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}, Timeout: patience}
	c, err := dialer.Dial("tcp", d.forward)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Read(make([]byte, 1)) // until it is refused
	c.Close()
	_, page := adminGet(t, "GET", d.admin, "/")
	_, status := adminGet(t, "GET", d.admin, "/status")
	for _, want := range []string{"<h1>Genkan", "<h2>Clients</h2>", "<svg", "forward a", "deny blocked", "<h2>Backends</h2>", "blocked", "<h2>Doctor</h2>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page+status, "127.0.0.77") {
		t.Errorf("a client is shown:\n%s\n%s", page, status)
	}
	answer, err := http.Get("http://" + d.admin + "/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if got := answer.Header.Get("Content-Security-Policy"); got != pagePolicy || strings.Contains(got, "unsafe") {
		t.Errorf("policy %q", got)
	}
	if strings.Contains(page, " style=") || strings.Contains(page, "<script>") || strings.Contains(page, " onclick") {
		t.Error("the page has what its policy forbids")
	}
}

// Rates are of the last minute or two, and an hour of families is remembered, no more.
func TestHistory(t *testing.T) {
	var h history
	start := time.Unix(1_000_000, 0)
	for i := range historyLong + 10 {
		n := int64(i * 100)
		h.add(start.Add(time.Duration(i)*historyEvery), proxy.FamilyStats{Accepted: n}, proxy.FamilyStats{Accepted: 2 * n},
			func() []proxy.ServiceStats {
				return []proxy.ServiceStats{{Kind: "site", Name: "a", Allowed: n}, {Kind: "site", Name: "idle"}}
			})
	}
	rates := h.rates()
	if len(rates) != historyLong-1 || rates[0] != (familyRate{10, 20}) || rates[len(rates)-1] != rates[0] {
		t.Errorf("%d rates, the first %v", len(rates), rates[0])
	}
	now := start.Add((historyLong + 9) * historyEvery)
	shown, more := pageServices([]proxy.ServiceStats{{Kind: "site", Name: "a", Allowed: (historyLong + 9) * 100}}, h.before(), now)
	if age := now.Sub(h.before().at); age < time.Minute || age > 2*time.Minute {
		t.Errorf("compared with %s ago", age)
	}
	if len(shown) != 1 || more != 0 || shown[0].Rate != 10 {
		t.Errorf("services %+v", shown)
	}
}
