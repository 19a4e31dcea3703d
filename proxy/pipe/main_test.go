package pipe

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience bounds every wait of these tests: ten times what a busy machine needs.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	before := openDescriptors()
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines left:", err)
		code = 1
	}
	// The runtime's poller (epoll, eventfd) is opened by the first test. The pipes
	// of io.Copy, in the oracle, are closed by finalizers.
	after := openDescriptors()
	for deadline := time.Now().Add(patience); after > before+2 && time.Now().Before(deadline); after = openDescriptors() {
		runtime.GC()
		runtime.Gosched()
	}
	if code == 0 && after > before+2 {
		fmt.Fprintf(os.Stderr, "%d descriptors left, %d at the start\n", after, before)
		code = 1
	}
	os.Exit(code)
}

func openDescriptors() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}

// long tells whether the long forms of the tests are wanted.
func long() bool { return os.Getenv("GENKAN_RELIABILITY") == "long" }

func startEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func mustListen(t testing.TB, address string) *net.TCPListener {
	t.Helper()
	network := "tcp4" // "tcp" would make a wildcard IPv4 listener a dual-stack one
	if address[0] == '[' {
		network = "tcp6"
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// tcpPair returns the two ends of a connection over loopback.
func tcpPair(t testing.TB, address string) (near, far *net.TCPConn) {
	t.Helper()
	ln := mustListen(t, address)
	defer ln.Close()
	near, err := net.DialTCP("tcp", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	far, err = ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	near.SetDeadline(deadline)
	t.Cleanup(func() { near.Close() })
	return near, far
}

// A relayed is a stream with both its peers.
type relayed struct {
	client, backend *net.TCPConn
	stream          *Stream
	results         chan Result
}

// A wrapped connection is one that the engine does not know: it takes goroutines.
type wrapped struct{ *net.TCPConn }

func (w wrapped) NetConn() net.Conn { return w.TCPConn }

// entrances are the ways by which a stream comes to an engine. Every test of how
// streams behave runs for each.
var entrances = []string{"relay", "goroutines", "forward", "accept"}

// startStream makes a stream from an IPv6 client to an IPv4 backend.
func startStream(t testing.TB, e *Engine, entrance string, o Options) *relayed {
	t.Helper()
	r := &relayed{results: make(chan Result, 2)}
	o.Done = func(res Result) { r.results <- res }
	if entrance == "relay" || entrance == "goroutines" {
		var front, back *net.TCPConn
		r.client, front = tcpPair(t, "[::1]:0")
		r.backend, back = tcpPair(t, "127.0.0.1:0")
		if entrance == "relay" {
			r.stream = e.Relay(front, back, o)
		} else {
			r.stream = e.Relay(wrapped{front}, wrapped{back}, o)
		}
		return r
	}
	ln := mustListen(t, "127.0.0.1:0")
	defer ln.Close()
	plan := Plan{Backend: ln.Addr().(*net.TCPAddr).AddrPort(), Options: o}
	var front *net.TCPConn
	if entrance == "forward" {
		r.client, front = tcpPair(t, "[::1]:0")
		r.stream = e.Forward(front, plan)
	} else {
		r.client = dialAccepting(t, e, plan)
	}
	var err error
	if r.backend, err = ln.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	r.backend.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { r.backend.Close() })
	return r
}

// check waits for the stream's end and compares its reason and side.
func (r *relayed) check(t testing.TB, reason Reason, side Side) Result {
	t.Helper()
	select {
	case got := <-r.results:
		if got.Reason != reason || got.Side != side {
			t.Fatalf("ended by %v of %v (%v), want %v of %v", got.Reason, got.Side, got.Err, reason, side)
		}
		return got
	case <-time.After(patience):
		t.Fatal("the stream did not end")
	}
	return Result{}
}

func mustWrite(t testing.TB, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}
