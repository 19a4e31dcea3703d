package servers

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
)

// Greeting connects from a namespace to a server that speaks first, and
// returns its first line. The connection is closed at the end of the test.
func Greeting(t testing.TB, n *lab.Namespace, from netip.Addr, to string) (string, net.Conn, error) {
	t.Helper()
	var conn net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Timeout: patience}
		if from.IsValid() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		}
		conn, err = d.Dial("tcp", to)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), conn, err
}

// waitGreeting waits until the server at a port of the backend greets with
// prefix. It asks from the backend itself: servers count who connects. header
// is sent first.
func waitGreeting(t testing.TB, l *lab.Lab, port int, header, prefix string) {
	t.Helper()
	waitGreetingAt(t, l, netip.AddrPortFrom(lab.BackendV4, uint16(port)), header, prefix)
}

// waitGreetingAt is waitGreeting for any address of the backend.
func waitGreetingAt(t testing.TB, l *lab.Lab, at netip.AddrPort, header, prefix string) {
	t.Helper()
	to := at.String()
	wait(t, "greeting of "+to, func() error {
		var conn net.Conn
		err := l.Backend.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", to, patience)
			return err
		})
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := conn.Write([]byte(header)); err != nil {
			return err
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, prefix) {
			err = fmt.Errorf("greeting %q, want %q", line, prefix)
		}
		return err
	})
}

// waitConnect waits until a port of the backend takes connections.
func waitConnect(t testing.TB, l *lab.Lab, port int) {
	t.Helper()
	to := netip.AddrPortFrom(lab.BackendV4, uint16(port)).String()
	wait(t, "connection to "+to, func() error {
		return l.Backend.Do(func() error {
			conn, err := net.DialTimeout("tcp", to, patience)
			if err != nil {
				return err
			}
			return conn.Close()
		})
	})
}
