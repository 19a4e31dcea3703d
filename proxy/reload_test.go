package proxy

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"genkan/acl"
)

// Reloads under load: no connection, no datagram of a session and no request
// fails, whichever backend it comes to.
func TestApplyUnderLoad(t *testing.T) {
	listen := mustListen(t, "[::1]:0")
	config := func(tcp, udp, web string) Config {
		return Config{
			Forwards: []Forward{
				{Name: "tcp", Listen: listen, To: mustBackend(t, tcp), Access: acl.AllowAll()},
				{Name: "udp", Listen: mustListen(t, "udp/127.0.0.1:0"), To: mustBackend(t, udp), Access: acl.AllowAll()},
			},
			Sites: []Site{{Name: "a.test", Listen: mustListen(t, "127.0.0.2:0"), To: mustBackend(t, web), Access: acl.AllowAll()}},
		}
	}
	backends := [2][3]string{
		{startBackend(t, echo), startUDPBackend(t, echoDatagram), startWeb(t, "1")},
		{startBackend(t, echo), startUDPBackend(t, echoDatagram), startWeb(t, "2")},
	}
	// Each reload has policies of its own, as a file that is read again gives.
	turn := func(i int) Config { return config(backends[i%2][0], backends[i%2][1], backends[i%2][2]) }
	s := start(t, turn(0))
	tcp, udp, web := s.at(t, "::1"), dialUDP(t, s.at(t, "127.0.0.1")), s.at(t, "127.0.0.2")

	var stop atomic.Bool
	var done sync.WaitGroup
	var count [3]atomic.Int64
	run := func(kind int, once func() error) {
		done.Go(func() {
			for !stop.Load() {
				if err := once(); err != nil {
					t.Errorf("kind %d: %v", kind, err)
					return
				}
				count[kind].Add(1)
			}
		})
	}
	run(0, func() error { return exchangeOnce("tcp", tcp, "x", 1) })
	run(1, func() error {
		if _, err := udp.Write([]byte("x")); err != nil {
			return err
		}
		_, err := udp.Read(make([]byte, 1))
		return err
	})
	run(2, func() error { return exchangeOnce("tcp", web, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 17) })
	for i := range 100 {
		if err := s.Apply(turn(i + 1)); err != nil {
			t.Fatal(err)
		}
		poll(t, "the load stands still", func() bool {
			return t.Failed() || count[0].Load() > int64(i) && count[1].Load() > int64(i) && count[2].Load() > int64(i)
		})
	}
	stop.Store(true)
	done.Wait()
}

// From the wildcard to one address and back, which the kernel does not let
// listen side by side; and nothing is lost where the new one cannot be opened.
func TestApplyMakesWay(t *testing.T) {
	to := startBackend(t, echo)
	port := portOf(t, unusedAddr(t))
	config := func(listen ...string) Config {
		return Config{Forwards: []Forward{{Name: "f", Listen: mustListen(t, listen...), To: mustBackend(t, to), Access: acl.AllowAll()}}}
	}
	all, one := fmt.Sprintf("[::]:%d", port), fmt.Sprintf("[::1]:%d", port)
	at := one
	s := start(t, config(all))
	for i, next := range []string{one, all, one} {
		if err := s.Apply(config(next)); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
		if err := exchangeOnce("tcp", at, "x", 1); err != nil {
			t.Errorf("after reload %d: %v", i, err)
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := s.Apply(config(all, taken.Addr().String())); err == nil {
		t.Error("Apply took a port that is in use")
	}
	if err := exchangeOnce("tcp", at, "x", 1); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	}
}

// A name that has come to lead to ourselves is refused when it is dialled, not
// in a reload: its owner would decide whether there is one.
func TestApplyWithNameOfOurOwn(t *testing.T) {
	port := portOf(t, unusedAddr(t))
	at := fmt.Sprintf("127.0.0.1:%d", port)
	config := Config{Forwards: []Forward{{Name: "f", Listen: mustListen(t, at), To: mustBackend(t, fmt.Sprintf("localhost:%d", port)), Access: acl.AllowAll()}}}
	s := start(t, config)
	member := s.state.Load().sortedGroups()[0].members[0]
	poll(t, "the name is not resolved", func() bool { return member.known() != nil })
	if err := s.Apply(config); err != nil {
		t.Errorf("reload: %v", err)
	}
	if err := exchangeOnce("tcp", at, "x", 1); err == nil {
		t.Error("the front answered through itself")
	}
}

// exchangeOnce connects, sends, and wants to read so many bytes.
func exchangeOnce(network, addr, send string, want int) error {
	conn, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, send); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, want))
	return err
}
