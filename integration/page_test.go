package integration

import (
	"bufio"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
)

// TestStatusPage: a browser draws the page in light and dark, wide and on a
// phone, without anything beyond its edge, and keeps it live under its policy.
func TestStatusPage(t *testing.T) {
	browser := require.Program(t, "chromium", "chromium")
	at := startPage(t)
	for _, row := range []struct {
		name   string
		width  string
		scheme string
		dark   bool
	}{{"wide", "1280", "1", false}, {"phone", "390", "1", false}, {"dark", "390", "0", true}} {
		file := filepath.Join(t.TempDir(), row.name+".png")
		chromium(t, browser, at, "--window-size="+row.width+",1400", "--screenshot="+file, "--blink-settings=preferredColorScheme="+row.scheme)
		picture := mustPicture(t, file)
		bounds := picture.Bounds()
		corner := color.GrayModel.Convert(picture.At(0, 0)).(color.Gray).Y
		if dark := corner < 64; dark != row.dark {
			t.Errorf("%s: the corner's grey is %d", row.name, corner)
		}
		seen := map[color.Color]bool{}
		for y := range bounds.Max.Y {
			if x := bounds.Max.X - 1; picture.At(x, y) != picture.At(0, 0) {
				t.Errorf("%s: something reaches the edge at line %d", row.name, y)
				break
			}
			seen[picture.At(bounds.Max.X/3, y)] = true
		}
		if len(seen) < 5 {
			t.Errorf("%s: only %d colours from top to bottom: nothing is drawn", row.name, len(seen))
		}
	}
	dom, complaints := chromium(t, browser, at, "--virtual-time-budget=10000", "--dump-dom", "--enable-logging=stderr")
	if !strings.Contains(dom, "data-live=") || !strings.Contains(dom, "forward a") {
		t.Errorf("the page was not loaded again:\n%s", dom)
	}
	if strings.Contains(complaints, "Content Security Policy") || strings.Contains(complaints, "CONSOLE") {
		t.Errorf("the browser complains:\n%s", complaints)
	}
}

// startPage starts a daemon with a status page and gives its address.
func startPage(t *testing.T) string {
	t.Helper()
	program, err := genkanBuilt()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "genkan.toml")
	mustWrite(t, file, "state_dir = \""+dir+"\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[forward.a]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.2:9\"\n")
	cmd := exec.Command(program, "run", "-c", file, "--socket", "")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct{ Msg, On string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "admin listens" {
			return line.On
		}
	}
	t.Fatal("no admin listener")
	return ""
}

// chromium opens the page and gives what the browser writes.
func chromium(t *testing.T, browser, at string, args ...string) (out, complaints string) {
	t.Helper()
	args = append(args, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir="+t.TempDir(), "http://"+at+"/")
	cmd := exec.CommandContext(t.Context(), browser, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, &errs)
	}
	return string(text), errs.String()
}

func mustPicture(t *testing.T, file string) image.Image {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return picture
}
