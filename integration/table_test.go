package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each test that the README's table of servers names is there, and is about
// that server: it starts one.
func TestReadmeServers(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "<!-- servers -->\n")
	table, _, ok2 := strings.Cut(rest, "<!-- end of servers -->\n")
	if !ok || !ok2 {
		t.Fatal("README.md has no table of servers")
	}
	bodies := testBodies(t)
	starts := map[string]string{
		"Apache httpd": "StartApache(", "Dovecot": "StartDovecot(", "OpenSSH": "StartSSH(", "BIND": "StartBind(",
		"Postfix": "StartPostfix(", "Sendmail": "StartSendmail(", "vsftpd": "StartVsftpd(", "nginx": "StartNginx(", "Redis": "StartRedis(",
		"Unbound": "StartUnbound(", "PostgreSQL": "StartPostgres(", "MariaDB": "StartMariaDB(",
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		server := strings.TrimSpace(strings.Split(line, "|")[1])
		if starts[server] == "" {
			t.Errorf("%s: a server that no test knows", server)
			continue
		}
		seen++
		for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1) {
			if body := bodies[name[1]]; !strings.Contains(body, starts[server]) {
				t.Errorf("%s: %s starts no %s", server, name[1], server)
			}
		}
		for i, cell := range strings.Split(line, "|")[2:5] {
			if i < 2 && !strings.Contains(cell, "`Test") {
				t.Errorf("%s: no test proves %q", server, cell)
			}
		}
	}
	if seen != len(starts) {
		t.Errorf("%d servers of %d are in the table", seen, len(starts))
	}
}

// testBodies gives the source of each test of this package.
func testBodies(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?ms)^func (Test\w+)\(.*?^}$`).FindAllStringSubmatch(string(source), -1) {
			bodies[m[1]] = m[0]
		}
	}
	return bodies
}
