package guest

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
	"genkan/tunnel"

	"golang.org/x/sys/unix"
)

// A kernel without conntrack: TCP replies are told by their flags. What this
// side begins by UDP is not answered, and the doc of filter.Apply says so.
func TestStatelessFilter(t *testing.T) {
	mustUnload(t, "nft_ct", "nf_conntrack")
	for _, dp := range datapaths(t) {
		t.Run(dp, func(t *testing.T) {
			l := mustLab(t)
			ec, rc := edge(), relay()
			ec.Datapath, ec.Expose = dp, tunnel.ExposeListeners
			said, err := os.Create(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			ec.Log = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
			mustUp(t, l.Relay, rc)
			tun, _ := mustUp(t, l.Front, ec)
			if got, want := tun.Status().Filter, "stateless"; got != want {
				t.Errorf("filter %s, want %s", got, want)
			}
			if want := "no conntrack (load the modules nf_conntrack and nft_ct): what this host asks by UDP gets no answer"; !strings.Contains(mustRead(t, said.Name()), want) {
				t.Errorf("the log says %q, want %q", mustRead(t, said.Name()), want)
			}
			if err := tun.SetPorts([]tunnel.Port{{Proto: "tcp", First: 7000}, {Proto: "udp", First: 7000}}); err != nil {
				t.Fatal(err)
			}
			checkTCP(t, l) // port 7000
			for _, n := range []*lab.Namespace{l.Front, l.Client6} {
				mustAnswer(t, n, 7000)
				mustAnswer(t, n, 7001)
			}
			for _, row := range []struct {
				want    bool
				from    *lab.Namespace
				network string
				to      netip.Addr
				port    int
			}{
				{true, l.Client6, "tcp", lab.Front6, 7000},
				{true, l.Client6, "udp", lab.Front6, 7000},
				{false, l.Client6, "tcp", lab.Front6, 7001},
				{false, l.Client6, "udp", lab.Front6, 7001},
				{true, l.Front, "tcp", lab.Client6, 7001},
				{false, l.Front, "udp", lab.Client6, 7001},
			} {
				before := tun.Status().Drops["not-exposed"]
				err := ask(row.from, row.network, row.to, row.port, row.want)
				drops := tun.Status().Drops["not-exposed"] - before
				if (err == nil) != row.want || (drops == 0) != row.want {
					t.Errorf("%s from %s to port %d: %v, %d dropped; want an answer: %v", row.network, row.from.Name, row.port, err, drops, row.want)
				}
			}
		})
	}
}

// mustUnload takes modules out of the kernel until the end of the test. Those
// who used them may be just going.
func mustUnload(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		deadline := time.Now().Add(patience)
		err := unix.DeleteModule(name, unix.O_NONBLOCK)
		for err != nil && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
			err = unix.DeleteModule(name, unix.O_NONBLOCK)
		}
		if err != nil {
			t.Fatalf("unload %s: %v", name, err)
		}
		t.Cleanup(func() { // the last one first
			files, err := filepath.Glob("/mod/*-" + name + ".ko")
			if err == nil && len(files) == 1 {
				err = load(files[0])
			}
			if err != nil || len(files) != 1 {
				t.Errorf("load %s again: %q: %v", name, files, err)
			}
		})
	}
}

// mustAnswer answers each connection with a byte, each datagram with itself.
func mustAnswer(t *testing.T, n *lab.Namespace, port int) {
	t.Helper()
	var listener net.Listener
	var conn *net.UDPConn
	err := n.Do(func() (err error) {
		if listener, err = net.Listen("tcp", fmt.Sprintf("[::]:%d", port)); err != nil {
			return err
		}
		conn, err = net.ListenUDP("udp6", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte{1})
			c.Close()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		conn.Close()
		<-done
		<-done
	})
}

// ask wants a byte of the other end. Where an answer is expected it waits with
// patience, else for a second: what counts then is what the filter counted.
func ask(from *lab.Namespace, network string, to netip.Addr, port int, expected bool) error {
	wait := time.Second
	if expected {
		wait = patience
	}
	end := time.Now().Add(wait)
	var c net.Conn
	err := from.Do(func() (err error) {
		c, err = net.DialTimeout(network, fmt.Sprintf("[%s]:%d", to, port), wait)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	err = errors.New("no answer")
	for err != nil && time.Now().Before(end) {
		if network == "udp" {
			_, _ = c.Write([]byte{1})
		}
		_ = c.SetReadDeadline(time.Now().Add(min(wait, time.Until(end))))
		_, err = c.Read(make([]byte, 1))
	}
	return err
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
