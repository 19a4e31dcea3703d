package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// A tool is a program and the Debian packages that bring it, "" where it is ours.
type tool struct{ program, debian string }

// install brings the missing programs from Debian if it may, and returns what
// stays missing.
func install(tools []tool, may bool) (missing []string) {
	var packages []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			packages = append(packages, strings.Fields(t.debian)...)
		}
	}
	if len(packages) > 0 && may {
		fmt.Fprintln(os.Stderr, "bench: installing", strings.Join(packages, " "))
		if out, err := aptInstall(packages); err != nil {
			fmt.Fprintf(os.Stderr, "bench: apt-get: %v\n%s", err, out)
		}
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil {
			missing = append(missing, t.program)
		}
	}
	return missing
}

// aptInstall installs packages without starting their servers.
func aptInstall(packages []string) ([]byte, error) {
	const policy = "/usr/sbin/policy-rc.d" // invoke-rc.d(8): 101 forbids
	if _, err := os.Stat(policy); err != nil {
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return nil, err
		}
		defer os.Remove(policy)
	}
	script := "apt-get -q update && apt-get -q install --assume-yes --no-install-recommends " + strings.Join(packages, " ")
	cmd := exec.Command("sh", "-c", script)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return cmd.CombinedOutput()
}
