package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain lets the test binary be the program, under the name genkan, in the scripts.
func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"genkan": main})
}

// leakless fails tests that leave goroutines behind.
type leakless struct{ *testing.M }

func (m leakless) Run() int {
	status := m.M.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

var update = flag.Bool("update", false, "write what came out as what is wanted, to be read before it is committed")

// TestScripts runs the command lines of testdata/script and compares what they write.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": exitStatus,
		},
	})
}

// exitStatus is the script command "status N genkan …": the program ends with status N.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARGUMENTS…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if e, ok := err.(interface{ ExitCode() int }); ok {
		got = itoa(e.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// What could not be written was not told.
func TestFullOutput(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, args := range [][]string{{"help"}, {"version"}, {"schema"}, {"address", "::1"}, {"completion", "bash"}} {
		var complaint strings.Builder
		status := program(t.Context(), args, streams{strings.NewReader(""), full, &complaint})
		if want := "genkan: write /dev/full: no space left on device\n"; status != 1 || complaint.String() != want {
			t.Errorf("genkan %q: status %d, %q; want 1, %q", args, status, complaint.String(), want)
		}
	}
}
