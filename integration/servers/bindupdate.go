package servers

import (
	"fmt"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

const bindUpdateConfig = `
options {
  directory "%[1]s"; pid-file none; session-keyfile "%[1]s/session.key"; lock-file none;
  managed-keys-directory "%[1]s"; listen-on port 53 { %[2]s; }; listen-on-v6 { none; };
  dnssec-validation no; notify no; recursion no;
};
controls { };
key "lab" { algorithm hmac-sha256; secret "%[3]s"; };
key "guest" { algorithm hmac-sha256; secret "%[3]s"; };
`

// StartBindUpdates starts BIND on port 53 of the backend, authoritative for
// some zones that hold nothing yet. The key "lab" (BindKey) may change them; the
// key "guest", of the same secret, is known and may change nothing.
func StartBindUpdates(t testing.TB, l *lab.Lab, zones ...string) *Server {
	t.Helper()
	program := require.Program(t, "named", "bind9")
	dir := folder(t, l, "bind")
	text := fmt.Sprintf(bindUpdateConfig, dir, lab.BackendV4, BindKey)
	for _, zone := range zones {
		write(t, filepath.Join(dir, zone+".zone"), "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns."+zone+".\nns."+zone+". A "+lab.BackendV4.String()+"\n")
		text += fmt.Sprintf("zone %q { type primary; file %q; update-policy { grant lab zonesub ANY; }; };\n", zone, zone+".zone")
	}
	config := filepath.Join(dir, "named.conf")
	write(t, config, text)
	s := run(t, l, dir, program, "-4", "-g", "-c", config)
	waitConnect(t, l, 53)
	s.WaitLog(t, "all zones loaded") // "running" is said before, too
	return s
}
