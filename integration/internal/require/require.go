// Package require skips tests whose machine lacks something. Each skip names
// what is missing; with GENKAN_REQUIRE=all, as in CI, it is a failure, so that
// no test can go unnoticed.
package require

import (
	"os"
	"os/exec"
	"testing"
)

// Root needs the right to make namespaces and links.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
}

// Program needs a program of a Debian package and returns its path.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "the program "+name+" (Debian package "+debianPackage+")")
	}
	return path
}

// File needs a file, /dev/net/tun or a module of a server's package.
func File(t testing.TB, path, from string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path+" ("+from+")")
	}
}

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("GENKAN_REQUIRE") == "all" {
		t.Fatalf("missing: %s; GENKAN_REQUIRE=all forbids to skip", what)
	}
	t.Skipf("missing: %s", what)
}
