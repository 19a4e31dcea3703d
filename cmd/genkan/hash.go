package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"genkan/proxy/htpasswd"
)

// hashCommand is "genkan hash": a line for the file of basic_auth.
func hashCommand(io streams) *cobra.Command {
	return &cobra.Command{
		Use:   "hash NAME",
		Short: "Make a line for the file of basic_auth, of a password on standard input",
		Long: `Hash reads a password, one line, from standard input and writes NAME:HASH, as htpasswd -B does:
    genkan hash joe >>/etc/genkan/staff.htpasswd`,
		Args: arguments(1, 1, "NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			if strings.ContainsAny(args[0], ": \t\r\n#") {
				return usagef("name %q: a colon, a space or \"#\" cannot stand in it", args[0])
			}
			password, err := readPassword(io)
			if err != nil {
				return err
			}
			hash, err := htpasswd.Hash(password)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.out, "%s:%s\n", args[0], hash)
			return err
		},
	}
}

// readPassword reads a line; what is typed at a terminal is not shown.
func readPassword(std streams) (string, error) {
	if f, ok := std.in.(*os.File); ok && isTerminal(f) {
		fmt.Fprint(std.err, "Password: ")
		defer fmt.Fprintln(std.err)
		back, err := silence(int(f.Fd()))
		if err != nil {
			return "", err
		}
		defer back()
	}
	line, err := bufio.NewReader(io.LimitReader(std.in, 1024)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// silence stops a terminal from showing what is typed.
func silence(fd int) (back func(), err error) {
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	quiet := *was
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, was) }, nil
}
