package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A new package never ends a Genkan that runs where another one would not start.
func TestPostInstall(t *testing.T) {
	script, err := os.ReadFile("dist/postinstall.sh")
	if err != nil {
		t.Fatal(err)
	}
	const guard = "[ -d /run/systemd/system ] || exit 0\n" // this machine may have no systemd
	if strings.Count(string(script), guard) != 1 {
		t.Fatalf("dist/postinstall.sh has no line %q", guard)
	}
	for _, row := range []struct {
		name                   string
		active, upgrade, check int // exit statuses
		want                   string
	}{
		{"nothing_runs", 3, 0, 0, "systemctl daemon-reload\nsystemctl is-active --quiet genkan\n"},
		{"upgraded", 0, 0, 0, "systemctl daemon-reload\nsystemctl is-active --quiet genkan\ngenkan upgrade\n"},
		{"no_upgrade", 0, 1, 0, "systemctl daemon-reload\nsystemctl is-active --quiet genkan\ngenkan upgrade\ngenkan check\nsystemctl restart genkan\n"},
		{"broken_configuration", 0, 1, 1, "systemctl daemon-reload\nsystemctl is-active --quiet genkan\ngenkan upgrade\ngenkan check\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			stub := func(name, then string) {
				text := fmt.Sprintf("#!/bin/sh\necho %s \"$@\" >>%s/done\ncase $1 in\n%s\nesac\n", name, dir, then)
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			stub("systemctl", fmt.Sprintf("is-active) exit %d ;;", row.active))
			stub("genkan", fmt.Sprintf("upgrade) exit %d ;;\ncheck) exit %d ;;", row.upgrade, row.check))
			if err := os.WriteFile(filepath.Join(dir, "systemd-sysusers"), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(string(script), guard, "", 1))
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
			done, err := os.ReadFile(filepath.Join(dir, "done"))
			if err != nil || string(done) != row.want {
				t.Errorf("%v; done:\n%s\nwant:\n%s", err, done, row.want)
			}
		})
	}
}
