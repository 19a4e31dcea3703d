package dhcp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A folder is where a DHCP client keeps its leases.
type folder struct {
	glob string // NAME is the interface's name, INDEX its index
	read func(text, iface string, now time.Time) (Parameters, bool, error)
}

// of is the pattern of an interface's files. What stands in names of
// interfaces has no meaning in patterns but for these four signs.
func (f folder) of(u Uplink) string {
	name := strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(u.Name)
	return strings.NewReplacer("NAME", name, "INDEX", strconv.Itoa(u.Index)).Replace(f.glob)
}

// folders are where leases are found, the likeliest to be fresh first.
func folders() []folder {
	return []folder{
		{"/run/systemd/netif/leases/INDEX", networkd},
		{"/var/lib/dhcp/dhclient*.lease*", dhclient},                // Debian
		{"/var/lib/dhclient/dhclient*.lease*", dhclient},            // Red Hat
		{"/var/lib/NetworkManager/dhclient-*-NAME.lease", dhclient}, // NetworkManager with dhclient
	}
}

// maxTail bounds what is read of a lease file: dhclient appends to its own for ever.
const maxTail = 256 << 10

// errNone says that there is no option 212.
var errNone = errors.New("no option 212 (6rd)")

// fromFiles looks for option 212 in the leases of an interface. A file whose
// option cannot be read is an error: it is newer than what is known otherwise.
func fromFiles(u Uplink, now time.Time) (Parameters, error) {
	for _, f := range folders() {
		names, err := filepath.Glob(f.of(u))
		if err != nil {
			return Parameters{}, err
		}
		for _, name := range names {
			text, err := tail(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return Parameters{}, fmt.Errorf("lease: %w", err)
			}
			p, found, err := f.read(text, u.Name, now)
			if err != nil {
				return Parameters{}, fmt.Errorf("lease %q: %w", name, err)
			}
			if found {
				p.From = name
				return p, nil
			}
		}
	}
	return Parameters{}, errNone
}

// Stamp is a text that changes whenever the host's DHCP client writes a lease
// of the uplink down: then Find may find something else.
func Stamp(u Uplink) string {
	var b strings.Builder
	for _, f := range folders() {
		names, _ := filepath.Glob(f.of(u)) // our own pattern is well formed
		for _, name := range names {
			if info, err := os.Stat(name); err == nil {
				fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano())
			}
		}
	}
	return b.String()
}

// tail reads the end of a file, from the beginning of a line on.
func tail(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	skip := max(0, info.Size()-maxTail)
	b, err := io.ReadAll(io.NewSectionReader(f, skip, maxTail))
	text := string(b)
	if skip > 0 {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text, err
}

// networkd reads a lease of systemd-networkd: KEY=VALUE lines.
func networkd(text, _ string, _ time.Time) (Parameters, bool, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "OPTION_212="); ok {
			b, err := octets(value)
			if err != nil {
				return Parameters{}, false, err
			}
			p, err := Parse(b)
			return p, err == nil, err
		}
	}
	return Parameters{}, false, nil
}

// dhclient reads the leases of ISC's dhclient, of which the last for an
// interface holds until it expires:
//
//	lease {
//	  interface "eth0";
//	  option option-6rd 0 32 2001:e41:: 198.51.100.1,198.51.100.2;
//	  expire 0 2026/11/22 05:46:36;
//	}
func dhclient(text, iface string, now time.Time) (Parameters, bool, error) {
	var option string
	var here, expired bool // of the lease being read
	var last string        // of the last whole lease for the interface
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(strings.TrimSpace(line), ";")
		key, value, _ := strings.Cut(line, " ")
		switch {
		case line == "lease {" || line == "lease4 {":
			option, here, expired = "", false, false
		case key == "interface":
			here = value == strconv.Quote(iface)
		case key == "expire":
			expired = hasExpired(value, now)
		case key == "option":
			if name, value, _ := strings.Cut(value, " "); is212(name) {
				option = value
			}
		case line == "}" && here:
			if last = option; expired {
				last = ""
			}
			here = false
		}
	}
	if last == "" {
		return Parameters{}, false, nil
	}
	p, err := parseText(last)
	return p, err == nil, err
}

// is212 reports whether an option of dhclient's is ours: what it calls it
// itself, or what people call it in dhclient.conf.
func is212(name string) bool {
	name = strings.ToLower(name)
	return name == "unknown-212" || strings.Contains(name, "6rd") || strings.Contains(name, "sixrd")
}

// hasExpired reads "0 2026/11/22 05:46:36" (UTC, behind the day of the week),
// "epoch 1700000000; # …" and "never". What cannot be read has expired.
func hasExpired(s string, now time.Time) bool {
	words := strings.Fields(s)
	switch {
	case len(words) == 1 && words[0] == "never":
		return false
	case len(words) >= 2 && words[0] == "epoch":
		n, err := strconv.ParseInt(strings.TrimSuffix(words[1], ";"), 10, 64)
		return err != nil || !now.Before(time.Unix(n, 0))
	case len(words) == 3:
		t, err := time.Parse("2006/01/02 15:04:05", words[1]+" "+words[2])
		return err != nil || !now.Before(t)
	}
	return true
}
