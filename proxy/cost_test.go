package proxy

import (
	"net"
	"runtime"
	"testing"

	"genkan/acl"
)

// answerQuickly serves requests without a body, each read at once, and
// allocates nothing meanwhile.
func answerQuickly(conn *net.TCPConn) {
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Mon, 30 Nov 2026 00:00:00 GMT\r\nContent-Length: 6\r\n\r\ngenkan")
	buf := make([]byte, 4096)
	for {
		if n, err := conn.Read(buf); n == 0 || err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// askKept sends a request on a connection that is kept, and reads the answer.
func askKept(t testing.TB, conn *net.TCPConn, request, buf []byte) {
	t.Helper()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err != nil || string(buf[:15]) != "HTTP/1.1 200 OK" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
}

// The garbage of a request is its two heads and the client's address in words:
// all else is used again. Collecting it is a cost of each request.
func TestRequestAllocates(t *testing.T) {
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startBackend(t, answerQuickly)), Access: acl.AllowAll(),
	}}})
	conn := mustDial(t, s.at(t, "127.0.0.1"))
	request, buf := []byte("GET /1k HTTP/1.1\r\nHost: a.test\r\nUser-Agent: test\r\n\r\n"), make([]byte, 4096)
	many := func(n int) {
		for range n {
			askKept(t, conn, request, buf)
		}
	}
	many(100)
	const n = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	many(n)
	runtime.ReadMemStats(&after)
	// Three, and with the race detector some that sync.Pool loses on purpose.
	if objects := (after.Mallocs - before.Mallocs) / n; objects > 6 {
		t.Errorf("%d objects a request, want 6 at most", objects)
	}
}
