// Genkan is the IPv6 front door of IPv4-only servers: it brings up the host's 6rd tunnel, receives every client
// there, decides once who may enter, and hands the connection on over plain IPv4.
//
//	genkan forward '[::]:8080' 192.0.2.10:80    one forward, no file
//	genkan run -c /etc/genkan/genkan.toml       the daemon
//	genkan help                                 the rest
//
// One file here is one subcommand. Exit statuses: 0 as asked; 1 it failed, and the reason stands on standard error;
// 2 the command line itself is wrong; 3 "explain" found that the client is denied; 4 "doctor" has warnings, and no more.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"genkan/cmd/genkan/config"
)

// version and commit are set by the linker (-X main.version=…).
var version, commit = "unknown", "unknown"

func main() {
	os.Exit(program(context.Background(), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are what a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// An output is standard output that remembers its first error: what a command has told nobody, it must not call told.
type output struct {
	to io.Writer

	mu  sync.Mutex // guards err
	err error
}

// underlying is the stream behind an output: for a terminal, of which more is wanted than to write, and for the access
// log of a daemon, which counts what it loses.
func underlying(stream io.Writer) io.Writer {
	if o, ok := stream.(*output); ok {
		return o.to
	}
	return stream
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.err == nil {
			o.err = err
		}
	}
	return n, err
}

func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// An exit is an error that has been told already, or an answer that only the exit status tells.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// program runs one command line and returns its exit status.
func program(ctx context.Context, args []string, io streams) int {
	out := &output{to: io.out}
	io.out = out
	root := rootCommand(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.failed()
	}
	var status exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	complain(io.err, err)
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// complain says why a command failed.
func complain(w io.Writer, err error) {
	if mistakes, ok := err.(config.Mistakes); ok { // each has its place in front
		fmt.Fprintln(w, mistakes)
		return
	}
	fmt.Fprintf(w, "genkan: %v\n", err)
}

// A usageError is a mistake on the command line itself.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
