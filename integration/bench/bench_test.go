package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Everything that the benchmark runs still runs: half a minute, and no figure of
// it means anything.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	for name, pkg := range map[string]string{"bench": ".", "genkan": "genkan/cmd/genkan"} {
		out, err := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, name), pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("go build %s: %v\n%s", pkg, err, out)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "bench"), "-quick", "-no-install", "-genkan", filepath.Join(dir, "genkan"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bench: %v\n%s", err, out)
	}
	rows := 0
	for line := range strings.Lines(string(out)) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.Contains("µs CPU 1/s KiB Gb/s CPU ms/GB µs", strings.TrimSpace(cells[2])) || strings.TrimSpace(cells[2]) == "" {
			continue
		}
		rows++
		if strings.TrimSpace(cells[3]) == "–" {
			t.Errorf("Genkan has no figure in %q", line)
		}
	}
	if rows < 15 {
		t.Errorf("%d rows in:\n%s", rows, out)
	}
}
