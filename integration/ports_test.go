package integration

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"genkan/integration/lab"
)

// One source address has so many ports towards one backend, 28,232 unless the
// host says otherwise: here it says a hundred. Behind the pool each client has
// as many of its own.
func TestPoolHasPortsForAll(t *testing.T) {
	const ports, clients = 100, 3
	w := mustWorld(t)
	others := []string{lab.Client6.String(), lab.Denied6.String(), "2001:db8:7::10"}
	w.mustAliases(t, others[2])
	if err := w.Front.Sysctl("net/ipv4/ip_local_port_range", fmt.Sprintf("40000 %d", 40000+ports-1)); err != nil {
		t.Fatal(err)
	}
	startGreeter(t, w, lab.BackendV4.String()+":7000")
	w.front(t, tunnelConfig+fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[forward.own]
listen = "tunnel:7001"
to     = "%[1]s:7000"

[forward.pool]
listen = "tunnel:7002"
to     = "%[1]s:7000"
source = "pool"
`, lab.BackendV4))
	const each = 3 * ports / 4 // of a client; all together are more than one address has
	greeted := func(port int) (n int) {
		for i := range clients * each {
			conn, err := w.tryDial(t, others[i%clients], "["+lab.Front6.String()+"]", port)
			if err != nil {
				continue
			}
			if _, err := io.ReadFull(conn, make([]byte, 5)); err == nil {
				n++
			}
		}
		return n
	}
	if n := greeted(7001); n > ports {
		t.Errorf("own: %d connections over %d ports; the test proves nothing", n, ports)
	}
	if n := greeted(7002); n != clients*each {
		t.Errorf("pool: %d of %d connections", n, clients*each)
	}
}

// startGreeter is a server that says "hello" and holds the connection as long as its client.
func startGreeter(t *testing.T, w *world, addr string) {
	t.Helper()
	serve(t, w, addr, func(c net.Conn) {
		fmt.Fprint(c, "hello")
		_, _ = io.Copy(io.Discard, c)
	})
}

// serve runs a server in the backend, which handles each connection.
func serve(t *testing.T, w *world, addr string, handle func(net.Conn)) {
	t.Helper()
	var l net.Listener
	err := w.Backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(2 * patience))
				handle(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
}
