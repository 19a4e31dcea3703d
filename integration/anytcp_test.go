package integration

import (
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/servers"
)

// PostgreSQL trusts its own network, where the front is: by the front's own
// address the Internet gets in without a password. By the pool it does not, and
// each client is known by an address of its own, to the rules and to itself.
func TestPostgres(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	psql := require.Program(t, "psql", "postgresql-client-15")
	servers.StartPostgres(t, w.Lab, "host all friend samenet trust\nhost all guest 100.64.0.0/10 trust\n")
	w.front(t, threeWays(5432, 0))
	create := []string{"setpriv", "--reuid", "postgres", "--clear-groups", psql, "-h", w.Dir + "/postgres", "-d", "postgres", "-c", "create role friend login; create role guest login"}
	if text, err := out(t, w.Backend, create...); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, c := range clients[:2] {
		for _, row := range []struct {
			user, port string
			want       string // in what psql says
		}{
			{"friend", "2001", "10.0.0.1/32"}, // nobody on the Internet is one
			{"friend", "2002", "no pg_hba.conf entry"},
			{"guest", "2002", "100.64."},
		} {
			text, _ := out(t, w.client(c.addr), psql, "-h", strings.Trim(c.to, "[]"), "-p", row.port, "-U", row.user, "-d", "postgres", "-Atc", "select inet_client_addr()::text")
			if !strings.Contains(text, row.want) {
				t.Errorf("%s, %s on port %s: want %q in %q", c.name, row.user, row.port, row.want, text)
			}
		}
	}
}

// MariaDB learns the true address by PROXY: what it grants to one address it
// grants to nobody else, which by the front's own address it cannot know.
func TestMariaDB(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	mariadb := require.Program(t, "mariadb", "mariadb-client")
	servers.StartMariaDB(t, w.Lab, "create user 'u'@'2001:db8:6::10';\ncreate user 'u'@'192.0.2.10';\ncreate user 'other'@'2001:db8:6::11';\ncreate user 'inside'@'10.%';\ncreate user 'pooled'@'100.64.%';\n")
	w.front(t, threeWays(3306, 3306))
	for _, c := range clients[:2] {
		for _, row := range []struct{ user, port, want string }{
			{"u", "2001", "Access denied"},
			{"inside", "2001", "inside@10.0.0.1"}, // nobody on the Internet is
			{"inside", "2002", "Access denied"},
			{"pooled", "2002", "pooled@100.64."},
			{"inside", "2003", "Access denied"},
			{"other", "2003", "Access denied"},
			{"u", "2003", "u@" + c.addr},
		} {
			text, _ := out(t, w.client(c.addr), mariadb, "--no-defaults", "-h", strings.Trim(c.to, "[]"), "-P", row.port, "-u", row.user, "-Ne", "select user()")
			if !strings.Contains(text, row.want) {
				t.Errorf("%s, %s on port %s: want %q in %q", c.name, row.user, row.port, row.want, text)
			}
		}
	}
}
