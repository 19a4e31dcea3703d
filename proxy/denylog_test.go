package proxy

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"genkan/acl"
)

// A flood of denied clients writes some lines of each rule and counts the rest.
func TestDenyLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		d := newDenyLog(slog.New(slog.NewTextHandler(log, nil)))
		flood, other := acl.Verdict{Rule: "deny all", Pos: acl.Pos{Line: 1}}, acl.Verdict{Rule: "deny ipv4", Pos: acl.Pos{Line: 2}}
		client := mustAddr(t, "192.0.2.1")
		for range 100 {
			d.note("denied", "forward", "f", client, flood)
		}
		d.note("denied", "forward", "f", client, other)
		if got := strings.Count(log.String(), "\n"); got != denyBurst+1 {
			t.Errorf("%d lines, want %d", got, denyBurst+1)
		}
		time.Sleep(denyEvery + time.Millisecond)
		d.note("denied", "forward", "f", client, flood)
		log.waitFor(t, "msg=denied", `rule="deny all"`, "suppressed=90")
	})
}
