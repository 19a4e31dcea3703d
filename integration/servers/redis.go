package servers

import (
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// StartRedis starts Redis on port 6379 of the backend: a server of any
// protocol over TCP, in which the client speaks first.
func StartRedis(t testing.TB, l *lab.Lab) *Server {
	t.Helper()
	program := require.Program(t, "redis-server", "redis-server")
	dir := folder(t, l, "redis")
	s := run(t, l, dir, program, "--bind", lab.BackendV4.String(), "--port", "6379", "--protected-mode", "no",
		"--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no")
	waitConnect(t, l, 6379)
	return s
}
