package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"genkan/proxy"
)

// The commands about connections, backends and certificates say what is, in tables without colour for programs.
func TestSurfaceCommands(t *testing.T) {
	c := startConfigured(t, "[site.\"www.test\"]\nlisten = \"127.0.0.1:0\"\nto = [\"127.0.0.3:9\", \"127.0.0.4:9\"]\n")
	var addr string
	listeners, err := askFor[[]listenerState](t.Context(), c.socket, "/v1/listeners")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		if strings.HasPrefix(l.Address, "127.0.0.97:") {
			addr = l.Address
		}
	}
	checkEcho(t, mustDial(t, addr))
	for late := time.Now().Add(patience); ; { // what a client has read is counted a moment later
		open, err := askFor[connectionsState](t.Context(), c.socket, "/v1/connections")
		if err == nil && len(open.Connections) == 1 && open.Connections[0].Down == 18 {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%v, %+v", err, open)
		}
	}
	run := func(want string, args ...string) {
		t.Helper()
		_, out, complaint := genkan("", append(args, "--socket", c.socket)...)
		got := regexp.MustCompile(` +`).ReplaceAllString(strings.ReplaceAll(out+complaint, c.echo, "ECHO"), " ")
		if !regexp.MustCompile(`^(?:` + want + `)$`).MatchString(got) {
			t.Errorf("genkan %q: got %q, want %q", args, got, want)
		}
	}
	run("ID CLIENT BY FOR BACKEND AGE UP DOWN\n1 127\\.0\\.0\\.1 tcp forward a ECHO [0-9]+s 18 B 18 B\n", "conn", "list")
	run("ID CLIENT BY FOR BACKEND AGE UP DOWN\nand 1 more; --limit shows them\n", "conn", "list", "--limit", "0")
	run(`\{"total":0,"connections":\[\]\}`+"\n", "conn", "list", "--client", "2001:db8::/32", "--json")
	run("(?s)genkan unknown, up [0-9]+s, 1 open\n\nFAMILY OPEN .*\nIPv6 0 0\\.0 .*\nIPv4 1 .*\nOF ALLOWED/S .*forward a .*\nBACKEND OF .*\nECHO forward a 1 .* up\n.*\nCLIENT OPEN UP DOWN\n127\\.0\\.0\\.1 1 18 B 18 B\n", "top", "--once")
	run("forward a: backend ECHO: draining, weight 1, 1 connection open\n", "backend", "drain", "a")
	run("forward a: backend ECHO: disabled, weight 1, [01] connections? open\n1 connection cut\n", "backend", "disable", "forward/a", c.echo)
	run("genkan: no connection \"999\" is open\n", "conn", "kill", "999")
	run("0 connections ended\n", "conn", "kill", "2001:db8::/32")
	run("site www\\.test: backend 127\\.0\\.0\\.4:9: up, weight 9, 0 connections open\n", "backend", "weight", "www.test", "127.0.0.4:9", "9")
	run("genkan: weight \"0\" is not 1 to 256\n", "backend", "weight", "www.test", "127.0.0.4:9", "0")
	run("genkan: \"www.test\" has several backends; say which: .*\n", "backend", "drain", "www.test")
	run("OF BACKEND WEIGHT OPEN TOTAL FAILED STATE\nforward a ECHO 1 [01] 1 0 disabled\nsite www\\.test 127\\.0\\.0\\.3:9 1 0 0 0 up\nsite www\\.test 127\\.0\\.0\\.4:9 9 0 0 0 up\n", "backend", "list")
	run("(?s).*\nforward a: backend ECHO: open [01] of 1, 0 failed, disabled\nsite www\\.test: backend 127\\.0\\.0\\.3:9: open 0 of 0, 0 failed\n.*", "status")
	run("forward a: backend ECHO: up, weight 1, [01] connections? open\n", "backend", "enable", "a")
	run("NAME SOURCE ISSUER ENDS DAYS STATE\n", "cert")
	run(`\[\]`+"\n", "cert", "--json")
}

// Keys go through the views of top, and no line is wider or frame higher than the terminal.
func TestTopModel(t *testing.T) {
	m := topModel{}
	press := func(keys ...tea.KeyMsg) (cmd tea.Cmd) {
		for _, k := range keys {
			var next tea.Model
			next, cmd = m.Update(k)
			m = next.(topModel)
		}
		return cmd
	}
	for _, row := range []struct {
		key  tea.KeyMsg
		view int
	}{
		{tea.KeyMsg{Type: tea.KeyTab}, 1}, {tea.KeyMsg{Type: tea.KeyLeft}, 0}, {tea.KeyMsg{Type: tea.KeyLeft}, 3},
		{tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("2")}, 1}, {tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("x")}, 1},
	} {
		if press(row.key); m.view != row.view {
			t.Errorf("%s leads to view %d, want %d", row.key, m.view, row.view)
		}
	}
	next, _ := m.Update(tea.WindowSizeMsg{Width: 20, Height: 2})
	for _, line := range strings.Split(next.View(), "\n") {
		if len(line) > 20 {
			t.Errorf("%q is too wide", line)
		}
	}
	if n := strings.Count(next.View(), "\n"); n > 1 {
		t.Errorf("%d lines are too many", n+1)
	}
	if quit := press(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q")}); quit == nil || quit() != tea.Quit() {
		t.Error("q does not quit")
	}
}

// Long names leave room for the numbers, and what a small terminal does not show is said.
func TestTopNarrow(t *testing.T) {
	const name = "a-very-long-name-of-a-site.customer.example.jp"
	m := topModel{view: 1, width: 64, height: 5}
	for _, n := range []string{"1." + name, "2." + name, "3." + name, "4." + name} {
		m.now.state.Proxy.Services = append(m.now.state.Proxy.Services, proxy.ServiceStats{Kind: "site", Name: n, Allowed: 12345})
	}
	m.before = m.now
	lines := strings.Split(m.View(), "\n")
	if len(lines) != 5 || !strings.HasPrefix(lines[3], "site 1.") || !strings.Contains(lines[3], "…  0.0") || !strings.HasPrefix(lines[4], "and 3 more") {
		t.Errorf("%q", lines)
	}
	m.width, m.height = 70, 20
	if lines = strings.Split(m.View(), "\n"); len(lines) != 7 || !strings.HasSuffix(lines[6], "12345") {
		t.Errorf("%q", lines)
	}
}

func TestBytesOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 KB", 123_456: "123 KB", 999_600: "1 MB", 5_500_000_000: "5.5 GB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	var out bytes.Buffer
	if got := coloured(&out, red, "x"); got != "x" {
		t.Errorf("colour in a file: %q", got)
	}
}
