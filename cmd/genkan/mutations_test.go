package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// whole is a configuration that holds, and blockedList its list; each mutation breaks one thing in one of them.
const whole = `state_dir = "DIR"
nat64 = ["2001:db8:64::/96"]
max_conns = 1000

[timeouts]
idle = "10m"

[lists]
office = ["192.0.2.0/24", "2001:db8::/32"]
blocked = { file = "DIR/blocked.txt" }

[pool.default]
prefix = "127.64.0.0/16"

[site."www.example.jp"]
listen = "127.0.0.1:0"
to = "127.0.0.9:8080"
access = ["deny blocked", "limit 200/10s per /64", "allow all"]
trust = "office"

[forward.a]
listen = "127.0.0.2:0"
to = "ECHO"
access = ["deny blocked 203.0.113.0/24", "conns 100", "allow 127.0.0.1 office"]

[forward.mail]
listen = "127.0.0.3:0"
to = "127.0.0.9:25"
announce = ["proxy-v2"]
check = { interval = "5m" }
`

const blockedList = "# the provider's\n198.51.100.0/24\n2001:db8:bad::/48\n"

// mutations are pairs of what is written and what stands in its place, each of which is one or more mistakes.
var mutations = [][2]string{
	// the form
	{`idle = "10m"`, `idle = 10m`},
	{`idle = "10m"`, `idle: 10m`},
	{`[timeouts]`, `[timeouts`},
	{`max_conns = 1000`, `max_conns 1000`},
	{`max_conns = 1000`, `max_conns = 01000`},
	{`[site."www.example.jp"]`, `[site.www.example.jp]`},
	{`trust = "office"`, `trust = “office”`},
	{`trust = "office"`, `trust = "office`},
	{`check = { interval = "5m" }`, `check = { interval = "5m"`},
	{`"limit 200/10s per /64", "allow all"]`, `"limit 200/10s per /64", "allow all"`},
	{`[forward.mail]`, "[forward.a]"},
	{`announce = ["proxy-v2"]`, "announce = [\"proxy-v2\"]\nannounce = []"},
	{`[lists]`, "[lists]\n- office"},
	// names
	{`access = ["deny blocked 203`, `acess = ["deny blocked 203`},
	{`[timeouts]`, `[timeout]`},
	{`max_conns = 1000`, `maxconns = 1000`},
	{`"deny blocked", "limit`, `"deny bloked", "limit`},
	{`[forward.mail]`, "[pool.x]\nprefix = \"100.64.0.0/16\"\nmax_conns = 1\n[forward.mail]"},
	{`[forward.mail]`, "[forward.\"www.example.jp\"]"},
	{`announce = ["proxy-v2"]`, `announce = ["proxy-v3"]`},
	{`check = { interval`, `check = { intervall`},
	// kinds and bounds
	{`max_conns = 1000`, `max_conns = "1000"`},
	{`max_conns = 1000`, `max_conns = 0`},
	{`idle = "10m"`, `idle = "10"`},
	{`idle = "10m"`, `idle = "-10m"`},
	{`idle = "10m"`, `idle = 600`},
	{`announce = ["proxy-v2"]`, `announce = "proxy-v2"`},
	{`state_dir = "DIR"`, `state_dir = ""`},
	{`[forward.a]`, "[forward.a]\nmode = \"shadows\""},
	// addresses
	{`"2001:db8::/32"]`, `"2001:db8::1/32"]`},
	{`"192.0.2.0/24"`, `"192.0.2.0/33"`},
	{`"192.0.2.0/24"`, `"192.0.02.0/24"`},
	{`"192.0.2.0/24"`, `"192.0.2.0/255.255.255.0"`},
	{`"192.0.2.0/24"`, `"::ffff:192.0.2.0/24"`},
	{`nat64 = ["2001:db8:64::/96"]`, `nat64 = ["2001:db8:64::/95"]`},
	{`prefix = "127.64.0.0/16"`, `prefix = "2001:db8:1::/48"`},
	{`to = "ECHO"`, `to = "[::1]:80"`},
	{`to = "ECHO"`, `to = "127.0.0.9"`},
	{`to = "ECHO"`, `to = "127.0.0.9:http"`},
	{`to = "ECHO"`, `to = "169.254.169.254:80"`},
	{"listen = \"127.0.0.2:0\"\nto = \"ECHO\"", "listen = \"::1:7\"\nto = \"ECHO\""},
	{"listen = \"127.0.0.2:0\"\nto = \"ECHO\"", "listen = \"tunnel:22\"\nto = \"ECHO\""},
	{"listen = \"127.0.0.2:0\"\nto = \"ECHO\"", "listen = \"127.0.0.1:9-8\"\nto = \"ECHO\""},
	// rules
	{`"allow all"]`, `"alow all"]`},
	{`"limit 200/10s per /64"`, `"limit 200 per /64"`},
	{`"limit 200/10s per /64"`, `"limit 200/10s per /16"`},
	{`"limit 200/10s per /64"`, `"limit 0/10s"`},
	{`"allow all"]`, `"allow"]`},
	{`"allow all"]`, `"allow 6rd:192.0.2.0/24"]`},
	{`"allow all"]`, `"allow nat64:192.0.2.0/24"]`},
	{`access = ["deny blocked 203.0.113.0/24", "conns 100", "allow 127.0.0.1 office"]`, `access = []`},
	{`"allow 127.0.0.1 office"]`, `"allow 10.1.2.3/8"]`},
	// what does not fit together
	{`announce = ["proxy-v2"]`, ``},
	{`[forward.a]`, "[forward.a]\nsource = \"pool:other\""},
	{`[forward.a]`, "[forward.a]\nannounce_address = \"clients\""},
	{`trust = "office"`, `trust_header = "forwarded"`},
	{`DIR/blocked.txt`, `DIR/gone.txt`},
	// the list's file
	{"198.51.100.0/24", "198.51.100.0/240"},
	{"198.51.100.0/24", "198.51.100"},
	{"2001:db8:bad::/48", "2001:db8:bad:/48"},
	{"198.51.100.0/24", "deny 198.51.100.0/24; allow 192.0.2.1;"},
	{"198.51.100.0/24", "198.51.100.9-198.51.100.1"},
	{"198.51.100.0/24", "bad.example.jp"},
}

// placed is what every refusal has: file, line, column, and behind a ";" or "?" what to do, or what is possible.
var placed = regexp.MustCompile(`^(DIR/)?(genkan.toml|blocked.txt):[0-9]+(:[0-9]+)?: .*(; |did you mean |\bwrite |\bfrom [/0-9]+ to |of length )`)

// A running Genkan refuses each mutated configuration or list with the place and the fix, and goes on as it was.
// testdata/mutations.txt has all the words; GENKAN_UPDATE=1 writes it.
func TestMutationsAreRefused(t *testing.T) {
	if len(mutations) < 50 {
		t.Fatalf("only %d mutations", len(mutations))
	}
	dir, echo := t.TempDir(), startEcho(t)
	file, socket := filepath.Join(dir, "genkan.toml"), filepath.Join(dir, "sock")
	fill := strings.NewReplacer("DIR", dir, "ECHO", echo)
	write := func(config, blocked string) {
		for path, text := range map[string]string{file: fill.Replace(config), filepath.Join(dir, "blocked.txt"): blocked} {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(whole, blockedList)
	d := startProcess(t, "run", "-c", file, "--socket", socket)
	before := runningState(t, socket)
	if len(before.Listening) != 3 || len(before.Proxy.Rules) != 9 || !strings.Contains(before.lists, "blocked: 2 spans") {
		t.Fatalf("the state at the start: %+v", before)
	}
	var words strings.Builder
	var worst time.Duration
	for _, m := range mutations {
		config, blocked := whole, blockedList
		switch {
		case strings.Contains(whole, m[0]):
			config = strings.Replace(whole, m[0], m[1], 1)
		case strings.Contains(blockedList, m[0]):
			blocked = strings.Replace(blockedList, m[0], m[1], 1)
		default:
			t.Fatalf("%q is not in the configuration", m[0])
		}
		write(config, blocked)
		began := time.Now()
		status, out, complaint := genkan("", "reload", "--socket", socket)
		worst = max(worst, time.Since(began))
		complaint = strings.NewReplacer(dir+"/", "DIR/", dir, "DIR", echo, "ECHO").Replace(complaint)
		fmt.Fprintf(&words, "%q → %q\n%s", m[0], m[1], complaint)
		if status == 0 || out != "" {
			t.Errorf("%q → %q was taken: %s", m[0], m[1], out)
		}
		for line := range strings.Lines(strings.TrimPrefix(complaint, "genkan: ")) {
			if !placed.MatchString(line) {
				t.Errorf("%q → %q: no place or no fix: %s", m[0], m[1], line)
			}
		}
		if after := runningState(t, socket); !before.equal(after) {
			t.Errorf("%q → %q: the state is %+v, was %+v", m[0], m[1], after, before)
		}
	}
	checkGolden(t, "testdata/mutations.txt", words.String())
	t.Logf("%d mutated configurations: each refused within %v", len(mutations), worst.Round(time.Millisecond))
	if worst > 10*time.Second { // ten times the figure: the machine is busy
		t.Errorf("refused after %v, want 1s", worst)
	}
	write(whole, blockedList)
	if _, out, complaint := genkan("", "reload", "--socket", socket); out+complaint != "nothing differs\n" {
		t.Errorf("reload of the first file again: %s%s", out, complaint)
	}
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// checkGolden compares a text with a file.
func checkGolden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("GENKAN_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; read what GENKAN_UPDATE=1 makes of it. Got:\n%s", path, got)
	}
}

// A stateAnswer is what must not change by a reload that is refused.
type stateAnswer struct {
	Listening []string
	Proxy     struct {
		Services []struct{ Kind, Name string }
		Backends []struct{ Kind, Name, Backend string }
		Rules    []ruleAnswer
	}
	lists  string
	config string // GET /config: the files as they were read
}

type ruleAnswer struct {
	Kind, Name, Rule string
	Pos              struct{ Line, Col int }
}

func runningState(t *testing.T, socket string) stateAnswer {
	t.Helper()
	var s stateAnswer
	_, out, complaint := genkan("", "status", "--json", "--socket", socket)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("status: %v, %s", err, complaint)
	}
	_, s.lists, _ = genkan("", "list", "show", "--socket", socket)
	s.lists = regexp.MustCompile(`(?m)^  the file as it is now .*\n`).ReplaceAllString(s.lists, "")
	config, err := ask(t.Context(), socket, http.MethodGet, "/v1/config", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.config = string(config)
	return s
}

func (s stateAnswer) equal(o stateAnswer) bool {
	return slices.Equal(s.Listening, o.Listening) && reflect.DeepEqual(s.Proxy.Services, o.Proxy.Services) &&
		slices.Equal(s.Proxy.Backends, o.Proxy.Backends) && slices.Equal(s.Proxy.Rules, o.Proxy.Rules) && s.lists == o.lists && s.config == o.config
}
