package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Each key of the README's table is one that the program logs, and an error has one key, not two.
func TestReadmeLogKeys(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "| key | what it says |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	logged := map[string]bool{"time": true, "level": true, "msg": true} // slog's own
	call := regexp.MustCompile(`\b(?:log|Log|logger\(\))\.(?:Debug|Info|Warn|Error|With)\(.*|attrs (?::=|=) .*|^\s*"forward", fl?\..*|^\s*"up", .*`)
	key := regexp.MustCompile(`"([a-z]+)",`)
	goFiles(t, func(path string, text []byte) {
		if strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "../integration/") {
			return
		}
		for line := range strings.Lines(string(text)) {
			for _, c := range call.FindAllString(line, -1) {
				for _, m := range key.FindAllStringSubmatch(c, -1) {
					logged[m[1]] = true
				}
			}
		}
	})
	keys := regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(regexp.MustCompile(`(?m)\|[^|\n]*\|$`).ReplaceAllString(table, ""), -1)
	if len(keys) < 20 {
		t.Fatalf("%d keys in the table: the rule is void", len(keys))
	}
	for _, k := range keys {
		if !logged[k[1]] {
			t.Errorf("the README has the key %q, which nothing logs", k[1])
		}
	}
	if logged["err"] {
		t.Error(`a line logs "err"; the key is "error"`)
	}
}
