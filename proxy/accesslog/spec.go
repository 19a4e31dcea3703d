package accesslog

import (
	"fmt"
	"path/filepath"
	"strings"

	"genkan/acl"
)

// A Format is how a line is written. The zero Format is Combined.
type Format uint8

// The formats.
const (
	Combined Format = iota // as Apache and nginx write it
	JSON                   // one object a line, with all that is known
)

// A Spec says where lines go and how they are written. The zero Spec writes
// none. Equal Specs are one log.
type Spec struct {
	// To is "stdout", an absolute path, "syslog" (of this machine),
	// "syslog:PATH" (its socket), or "syslog:udp/ADDRESS:PORT".
	To     string
	Format Format
}

// devLog is where syslog listens on this machine.
const devLog = "/dev/log"

// CheckTo reports why text is no destination.
func CheckTo(text string) error {
	rest, isSyslog := strings.CutPrefix(text, "syslog:")
	network, at, isUDP := strings.Cut(rest, "udp/")
	switch {
	case text == "stdout" || text == "syslog" || !isSyslog && filepath.IsAbs(text):
		return nil
	case isSyslog && isUDP && network == "":
		hp, err := acl.ParseHostPort(at)
		if err != nil || !hp.Addr.IsValid() || hp.Port == 0 {
			return fmt.Errorf("%q: write the address and port of the syslog server, as \"syslog:udp/192.0.2.1:514\"", text)
		}
		return nil
	case isSyslog && filepath.IsAbs(rest):
		return nil
	}
	return fmt.Errorf("%q is nowhere; write \"stdout\", a file with its whole path, \"syslog\", \"syslog:/run/log.sock\" or \"syslog:udp/192.0.2.1:514\"", text)
}
