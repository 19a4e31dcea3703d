package kernel

import (
	"regexp"
	"strings"
	"testing"
)

// checkGuest wants of a machine's console exit status 0, some test passed and
// none skipped. It tells what failing tests said, and the end of a machine that
// told no exit.
func checkGuest(t *testing.T, console string) {
	t.Helper()
	r := readConsole(console)
	for _, name := range r.notPassed {
		t.Errorf("%s\n%s", name, r.said[name])
	}
	t.Logf("%d tests passed", r.passed)
	switch {
	case r.exit == "":
		t.Errorf("the guest did not come to its end; its last words:\n%s", last(console, 60))
	case (r.exit != "0" || r.passed == 0) && len(r.notPassed) == 0:
		t.Errorf("exit status %s; the guest's last words:\n%s", r.exit, last(console, 60))
	}
	if testing.Verbose() {
		t.Logf("the whole console:\n%s", console)
	}
}

// A result is what a guest's "go test -v" told.
type result struct {
	passed    int
	notPassed []string          // "FAIL: TestX" or "SKIP: TestX"
	said      map[string]string // by the same key
	exit      string            // empty: the machine died
}

var (
	begins = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S+)$`)
	ends   = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+)`)
	ended  = regexp.MustCompile(`^GUEST-EXIT ([0-9]+)$`)
)

func readConsole(console string) result {
	r := result{said: map[string]string{}}
	lines := map[string]string{} // of a test, since it began
	name := ""
	for line := range strings.Lines(console) {
		line = strings.TrimSuffix(line, "\n")
		if m := begins.FindStringSubmatch(line); m != nil {
			name = m[1]
		} else if m := ends.FindStringSubmatch(line); m != nil {
			if m[1] == "PASS" {
				r.passed++
				continue
			}
			key := m[1] + ": " + m[2]
			r.notPassed = append(r.notPassed, key)
			r.said[key] = lines[m[2]]
		} else if m := ended.FindStringSubmatch(line); m != nil {
			r.exit = m[1]
		} else if name != "" {
			lines[name] += line + "\n"
		}
	}
	return r
}

func last(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func TestReadConsole(t *testing.T) {
	r := readConsole(strings.Join([]string{
		"SeaBIOS", "=== RUN   TestA", "=== RUN   TestA/x", "    a_test.go:7: wrong", "=== RUN   TestA/y", "fine",
		"--- FAIL: TestA (1.00s)", "    --- FAIL: TestA/x (0.50s)", "    --- PASS: TestA/y (0.50s)",
		"=== RUN   TestB", "    b_test.go:9: missing: z", "--- SKIP: TestB (0.00s)", "FAIL", "GUEST-EXIT 1", "[ 9.1] reboot: Power down",
	}, "\n"))
	if got, want := strings.Join(r.notPassed, ", "), "FAIL: TestA, FAIL: TestA/x, SKIP: TestB"; got != want {
		t.Errorf("not passed: %s, want %s", got, want)
	}
	if got, want := r.said["FAIL: TestA/x"], "    a_test.go:7: wrong\n"; got != want {
		t.Errorf("TestA/x said %q, want %q", got, want)
	}
	if r.passed != 1 || r.exit != "1" {
		t.Errorf("passed %d, exit %q; want 1 and 1", r.passed, r.exit)
	}
	if r := readConsole("=== RUN   TestA\nKernel panic\n"); r.exit != "" {
		t.Errorf("exit %q of a machine that died", r.exit)
	}
}
