package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"genkan/acl"
	"genkan/proxy"
)

// A TCP socket for both families, as systemd opens it unless told otherwise, serves both, each client in its own form;
// one for UDP is refused, as there anybody can claim to be an IPv4 client.
func TestInheritDualStack(t *testing.T) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp", "[::]:0") // package net makes it dual-stack
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	backend, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(c).ReadString('\n') // the PROXY header
			_, _ = io.WriteString(c, line)
			c.Close()
		}
	}()
	port := uint16(ln.Addr().(*net.TCPAddr).Port)
	to, err := proxy.ParseBackend(backend.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := proxy.New(proxy.Config{Forwards: []proxy.Forward{{
		Name: "f", Listen: []proxy.Listen{{Network: "tcp", Port: port, PortEnd: port}}, To: []proxy.Backend{to},
		Access: acl.AllowAll(), Announce: []string{"proxy-v1"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Inherit([]*os.File{file}); err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	for _, row := range []struct{ host, want string }{{"127.0.0.1", "PROXY TCP4 127.0.0.1 127.0.0.1 "}, {"::1", "PROXY TCP6 ::1 ::1 "}} {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(row.host, fmt.Sprint(port)), 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || len(line) < len(row.want) || line[:len(row.want)] != row.want {
			t.Errorf("%s: %q, %v, want %q first", row.host, line, err, row.want)
		}
		c.Close()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}

	pc, err := net.ListenPacket("udp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if file, err = pc.(*net.UDPConn).File(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("inherited socket %q: UDP for IPv4 and IPv6 at once; write BindIPv6Only=ipv6-only into the socket unit, and a ListenDatagram=0.0.0.0:PORT for IPv4", file.Name())
	if err := s.Inherit([]*os.File{file}); err == nil || err.Error() != want {
		t.Errorf("dual-stack UDP: %v, want %s", err, want)
	}
}
