package servers

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const bindConfig = `
options {
  directory "%[1]s"; pid-file none; session-keyfile "%[1]s/session.key"; lock-file none;
  managed-keys-directory "%[1]s"; listen-on port 53 { %[2]s; }; listen-on-v6 { none; };
  dnssec-validation no; notify no; querylog yes; max-udp-size 4096;
  %[3]s
};
controls { };
key "lab" { algorithm hmac-sha256; secret "%[4]s"; };
zone "example.test" { type primary; file "example.test.zone"; };
zone "elsewhere" { type forward; forward only; forwarders { %[5]s; }; };
`

// BindKey is the secret of the TSIG key "lab", hmac-sha256.
const BindKey = "Z2Vua2FuIGxhYg=="

// BindSizes are the answers to queries with EDNS for "sSIZE.example.test", TXT,
// in bytes of the message.
func BindSizes() []int { return []int{512, 1232, 1355, 3147, 60000} }

// StartBind starts BIND on port 53 of the backend, authoritative for
// example.test. What it is asked below elsewhere it asks lab.Backend2, for those
// whom it allows recursion. more goes into its options.
func StartBind(t testing.TB, l *lab.Lab, more string) *Server {
	t.Helper()
	program := require.Program(t, "named", "bind9")
	dir := folder(t, l, "bind")
	zone := "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A " + lab.BackendV4.String() + "\nwww A 192.0.2.80\nwww AAAA 2001:db8::80\n"
	for _, size := range BindSizes() {
		name := fmt.Sprintf("s%d", size)
		zone += name + " TXT " + bindText(name, size) + "\n"
	}
	write(t, filepath.Join(dir, "example.test.zone"), zone)
	config := filepath.Join(dir, "named.conf")
	write(t, config, fmt.Sprintf(bindConfig, dir, lab.BackendV4, more, BindKey, lab.Backend2))
	s := run(t, l, dir, program, "-4", "-g", "-c", config)
	waitConnect(t, l, 53)
	s.WaitLog(t, "all zones loaded") // "running" is said before, too
	return s
}

// bindText is the strings of a TXT record that makes the answer to its
// question size bytes long: header, question, the record, an OPT record.
func bindText(name string, size int) string {
	left := size - 12 - len(name+".example.test") - 2 - 4 - 12 - 11
	var b strings.Builder
	for left > 0 {
		n := min(left, 256) // a length and 255 letters
		fmt.Fprintf(&b, "%q ", strings.Repeat("x", n-1))
		left -= n
	}
	return "( " + b.String() + ")"
}
