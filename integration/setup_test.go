package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSetupInstalls: what a test cannot do without, setup.sh installs.
func TestSetupInstalls(t *testing.T) {
	script, err := os.ReadFile("setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(script), "packages='")
	list, _, ended := strings.Cut(list, "'")
	if !found || !ended {
		t.Fatal("setup.sh has no packages='…'")
	}
	installed := strings.Fields(list)
	needs := regexp.MustCompile(`require\.(?:Program\(t, [^,\n]+, "|File\(t, [^\n]+"Debian package )([a-z0-9.+-]+)"\)`)
	seen := 0
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range needs.FindAllStringSubmatch(string(text), -1) {
			if seen++; !slices.Contains(installed, m[1]) {
				t.Errorf("%s needs the Debian package %s, which setup.sh does not install", path, m[1])
			}
		}
		return err
	})
	if err != nil || seen < 20 {
		t.Fatalf("%d packages are needed, %v", seen, err)
	}
}
