package servers

import (
	"os/exec"
	"path/filepath"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// StartPostgres starts PostgreSQL on port 5432 of the backend. rules are lines
// of its pg_hba.conf.
func StartPostgres(t testing.TB, l *lab.Lab, rules string) *Server {
	t.Helper()
	const bin = "/usr/lib/postgresql/15/bin/"
	require.File(t, bin+"postgres", "Debian package postgresql-15")
	setpriv := []string{"--reuid", "postgres", "--regid", "postgres", "--clear-groups"}
	dir := folder(t, l, "postgres")
	if out, err := exec.Command("chown", "postgres:", dir).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	data := filepath.Join(dir, "data")
	finish(t, l, "setpriv", append(setpriv, bin+"initdb", "-D", data, "-A", "trust", "-N")...)
	write(t, filepath.Join(data, "pg_hba.conf"), "local all all trust\n"+rules)
	s := run(t, l, dir, "setpriv", append(setpriv, bin+"postgres", "-D", data, "-h", lab.BackendV4.String(), "-k", dir, "-c", "fsync=off")...)
	s.WaitLog(t, "ready to accept connections")
	return s
}

// StartMariaDB starts MariaDB on port 3306 of the backend, which believes the
// front's PROXY headers where there are some. init are statements, one a line,
// that it begins with.
func StartMariaDB(t testing.TB, l *lab.Lab, init string) *Server {
	t.Helper()
	program := require.Program(t, "mariadbd", "mariadb-server")
	dir := folder(t, l, "mariadb", "data")
	if out, err := exec.Command("chown", "-R", "mysql:", dir).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v\n%s", err, out)
	}
	data := "--datadir=" + filepath.Join(dir, "data")
	finish(t, l, "mariadb-install-db", "--no-defaults", "--user=mysql", data, "--auth-root-authentication-method=normal", "--skip-test-db")
	write(t, filepath.Join(dir, "init.sql"), init)
	s := run(t, l, dir, program, "--no-defaults", "--user=mysql", data, "--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "pid"),
		"--bind-address="+lab.BackendV4.String(), "--skip-name-resolve", "--proxy-protocol-networks="+lab.InsideV4.String(),
		"--init-file="+filepath.Join(dir, "init.sql"), "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M")
	s.WaitLog(t, "ready for connections")
	return s
}
