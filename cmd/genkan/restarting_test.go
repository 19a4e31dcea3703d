package main

import "testing"

func TestUnitOf(t *testing.T) {
	for _, row := range []struct{ cgroup, want string }{
		{"0::/system.slice/genkan.service\n", "genkan.service"},
		{"9:name=systemd:/\n8:pids:/\n0::/system.slice/genkan@front.service/child\n", "genkan@front.service"},
		{"0::/user.slice/user-0.slice/session-1.scope\n", ""},
		{"0::/\n", ""},
		{"", ""},
	} {
		if got := unitOf(row.cgroup); got != row.want {
			t.Errorf("%q: %q, want %q", row.cgroup, got, row.want)
		}
	}
}

func TestRestartJob(t *testing.T) {
	for _, row := range []struct {
		jobs string
		want bool
	}{
		{"8 genkan.service restart running\n", true},
		{"7 other.service restart running\n11 genkan.service stop running\n", false},
		{"7 other.service restart running\n", false},
		{"", false},
	} {
		if got := restartJob(row.jobs, "genkan.service"); got != row.want {
			t.Errorf("%q: %v, want %v", row.jobs, got, row.want)
		}
	}
}
