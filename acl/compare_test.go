package acl

import (
	"fmt"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	log := `192.0.2.1 - - [22/Nov/2026:01:00:00 +0000] "GET / HTTP/1.1" 200 1
::ffff:192.0.2.1 - - [22/Nov/2026:01:00:00 +0000] "GET / HTTP/1.1" 200 1
[2001:db8::1]:4711 - - "GET /?client=203.0.113.2 HTTP/1.1" 200 1
192.0.2.1 - - "GET /` + strings.Repeat("x", 200_000) + ` HTTP/1.1" 400 1
time=2026-11-22T01:00:00Z level=INFO msg=request client=203.0.113.1 site=www
{"time":"2026-11-22T01:00:00Z","client":"2001:e41:c000:201::1","site":"www"}
not a line of ours

`
	before := mustCompile(t, tunnelEnv(), "allow 192.0.2.0/24 2001:db8::/32", "allow 6rd:192.0.2.0/24")
	after := mustCompile(t, tunnelEnv(), "limit 1/1h", "deny 192.0.2.0/24", "allow all")
	c, err := Compare(before, after, strings.NewReader(log))
	got := fmt.Sprintf("%d lines, %d clients, %d skipped", c.Lines, c.Clients, c.Skipped)
	for _, ch := range c.Changes {
		got += fmt.Sprintf("; %s (%d): %v %d, %v %d", ch.Client, ch.Lines, ch.Before.Allow, ch.Before.Pos.Line, ch.After.Allow, ch.After.Pos.Line)
	}
	want := "6 lines, 4 clients, 2 skipped; 192.0.2.1 (3): true 1, false 2; 203.0.113.1 (1): false 0, true 3; 2001:e41:c000:201::1 (1): true 2, false 2"
	if err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}
