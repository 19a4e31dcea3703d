package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"genkan/acl"
)

// insideVariable tells the child process which variant to test.
const insideVariable = "GENKAN_TEST_TRANSPARENT"

// An IPv4 client's own address at the backend, both ways of routing. The test
// runs again in a process that was born in a network namespace, as the pipe
// engine's threads have to be in it too:
//
//	client 192.0.2.10 ── 192.0.2.1 front 10.77.0.1 ── 10.77.0.2 backend
func TestTransparent(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "root")
	}
	for _, by := range []string{"socket", "port"} {
		t.Run(by, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestInsideTransparent$", "-test.v")
			child.Env = append(os.Environ(), insideVariable+"="+by)
			child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
			if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestInsideTransparent") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestInsideTransparent(t *testing.T) {
	variant := os.Getenv(insideVariable)
	if variant == "" {
		return // this is for the child of TestTransparent
	}
	by := TransparentBySocket
	if variant == "port" {
		by = TransparentByPort
	}
	client, backend := makeNeighbour(t, "c0", "192.0.2.1/24", "192.0.2.10/24"), makeNeighbour(t, "b0", "10.77.0.1/24", "10.77.0.2/24")
	backend(func() {
		ln, err := net.Listen("tcp4", "10.77.0.2:22")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				tellPeer(conn.(*net.TCPConn))
				conn.Close()
			}
		}()
		pc, err := net.ListenPacket("udp4", "10.77.0.2:53")
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { pc.Close() })
		go func() {
			for {
				_, from, err := pc.ReadFrom(make([]byte, 100))
				if err != nil {
					return
				}
				pc.WriteTo([]byte(from.(*net.UDPAddr).IP.String()), from)
			}
		}()
	})
	s := start(t, Config{
		TransparentBy: by,
		Forwards: []Forward{
			{Name: "ssh", Listen: mustListen(t, "192.0.2.1:2222"), To: mustBackend(t, "10.77.0.2:22"), Access: acl.AllowAll(), Source: SourceTransparent},
			{Name: "dns", Listen: mustListen(t, "udp/192.0.2.1:53"), To: mustBackend(t, "10.77.0.2:53"), Access: acl.AllowAll(), Source: SourceTransparent, Protocol: "dns"},
		},
	})
	client(func() {
		for _, row := range []struct{ network, at string }{{"tcp4", "192.0.2.1:2222"}, {"udp4", "192.0.2.1:53"}} {
			conn, err := net.DialTimeout(row.network, row.at, patience)
			if err != nil {
				t.Error(err)
				continue
			}
			conn.SetDeadline(time.Now().Add(patience))
			if row.network == "udp4" {
				io.WriteString(conn, "who am I")
			}
			got := make([]byte, 100)
			n, err := conn.Read(got)
			conn.Close()
			if string(got[:n]) != "192.0.2.10" {
				t.Errorf("%s: the backend saw %q, %v, want 192.0.2.10", row.network, got[:n], err)
			}
		}
	})
	if left := leftovers(t); left == "" {
		t.Error("no rule or route was made: this test shows nothing")
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if left := leftovers(t); left != "" {
		t.Errorf("left after the stop: %s", left)
	}
}

// leftovers tells what of our routing is there.
func leftovers(t *testing.T) string {
	t.Helper()
	var left []string
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if rule.Table == transparentTable {
			left = append(left, fmt.Sprint(rule))
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: transparentTable}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		t.Fatal(err)
	}
	for _, route := range routes {
		left = append(left, fmt.Sprint(route))
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		left = append(left, "table "+table.Name)
	}
	return strings.Join(left, "; ")
}

// makeNeighbour makes a namespace at the other end of a veth, with a default
// route to here, and gives what runs functions in it.
func makeNeighbour(t *testing.T, name, here, there string) func(func()) {
	t.Helper()
	jobs, done := make(chan func()), make(chan bool)
	entered := make(chan error)
	tid := 0
	go func() {
		runtime.LockOSThread() // never unlocked: thread and namespace go together
		err := unix.Unshare(unix.CLONE_NEWNET)
		tid = unix.Gettid()
		entered <- err
		for job := range jobs {
			job()
			done <- true
		}
	}()
	if err := <-entered; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(jobs) })
	run := func(job func()) {
		jobs <- job
		<-done
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", tid))
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(namespace.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	configure(t, name, here, "")
	gateway, _, _ := strings.Cut(here, "/")
	run(func() { configure(t, "eth0", there, gateway) })
	return run
}

// configure gives an interface its address, and the namespace a default route.
func configure(t *testing.T, name, address, gateway string) {
	t.Helper()
	var errs []error
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Error(err)
		return
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		t.Error(err)
		return
	}
	lo, err := netlink.LinkByName("lo")
	errs = append(errs, err, netlink.LinkSetUp(lo), netlink.AddrAdd(link, addr), netlink.LinkSetUp(link))
	if gateway != "" {
		errs = append(errs, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}))
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}
