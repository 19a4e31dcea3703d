package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"

	"genkan/proxy/pipe"
)

// engineAlone is the pipe engine that accepts, connects and relays by itself:
// what it leaves of a figure of Genkan's is the rest of Genkan.
func engineAlone() *contestant {
	return &contestant{name: "engine", tool: tool{program: os.Args[0]}, command: func(p place) []string {
		return []string{"-role", "engine", fmt.Sprintf("[::1]:%d", p.listen), fmt.Sprintf("127.0.0.1:%d", p.backend)}
	}}
}

func serveEngine(listen, backend string) error {
	to, err := netip.ParseAddrPort(backend)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp6", listen)
	if err != nil {
		return err
	}
	e, err := pipe.New(pipe.Config{})
	if err != nil {
		return err
	}
	_, err = e.Accept(ln.(*net.TCPListener), func(c *pipe.Conn) {
		c.Forward(pipe.Plan{Backend: to})
	})
	if err != nil {
		return err
	}
	select {} // until the benchmark ends this process
}
