package proxy

import (
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
	configs := []Config{
		config(startBackend(t, echo), startUDPBackend(t, echoDatagram), startWeb(t, "1")),
		config(startBackend(t, echo), startUDPBackend(t, echoDatagram), startWeb(t, "2")),
	}
	s := start(t, configs[0])
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
		if err := s.Apply(configs[(i+1)%2]); err != nil {
			t.Fatal(err)
		}
		poll(t, "the load stands still", func() bool {
			return t.Failed() || count[0].Load() > int64(i) && count[1].Load() > int64(i) && count[2].Load() > int64(i)
		})
	}
	stop.Store(true)
	done.Wait()
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
