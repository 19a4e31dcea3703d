package integration

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"genkan/integration/lab"
)

// What ICMP tells the front about a UDP backend, the front tells the client, of
// either family: a closed port, and a firewall that says so.
func TestUDPErrorsReachTheClient(t *testing.T) {
	w := mustWorld(t)
	p := w.front(t, tunnelConfig+fmt.Sprintf(`
[forward.ask]
listen = ["udp/tunnel:7000", "udp/%[1]s:7000"]
to     = "%[2]s:7000"
`, lab.FrontV4, lab.BackendV4))
	refused := func(when, why string, want map[string]syscall.Errno) {
		t.Helper()
		for _, c := range clients[:2] {
			if err := w.askUDP(c.addr, c.to, 7000); !errors.Is(err, want[c.name]) {
				t.Errorf("%s: the %s client has %v, want %v", when, c.name, err, want[c.name])
			}
		}
		mustLog(t, p, "ask", "backend "+lab.BackendV4.String()+":7000: "+why+" after ")
	}
	six, four := clients[0].name, clients[1].name
	refused("nobody there", "port unreachable", map[string]syscall.Errno{six: syscall.ECONNREFUSED, four: syscall.ECONNREFUSED})
	if err := w.Backend.Prohibit(); err != nil {
		t.Fatal(err)
	}
	// Linux says so to sockets: icmpv6_err_convert and icmp_err_convert.
	refused("filtered", "unreachable, administratively prohibited", map[string]syscall.Errno{six: syscall.EACCES, four: syscall.EHOSTUNREACH})
}

// askUDP sends a datagram as a client and waits for what comes.
func (w *world) askUDP(from, to string, port int) error {
	var conn net.Conn
	err := w.client(from).Do(func() (err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		conn, err = d.Dial("udp", to+":"+strconv.Itoa(port))
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("?")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}
