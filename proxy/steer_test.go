package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/acl"
)

// Clients are shared out by weight in each way to balance.
func TestWeights(t *testing.T) {
	to := mustBackend(t, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	steer := func(g *group, weights ...int) {
		for i, w := range weights {
			s := Steering{BackendActive, w}
			if w == 0 {
				s = Steering{BackendDraining, 1}
			}
			g.members[i].steered.Store(&s)
		}
	}
	const client = "192.0.2.1"
	var twenty [20]string
	for i := range twenty {
		twenty[i] = client
	}
	for _, row := range []struct {
		weights []int
		want    string // in 20 turns
	}{
		{[]int{1, 1, 1}, "12312312312312312312"},
		{[]int{2, 1, 1}, "13211321132113211321"},
		{[]int{3, 0, 1}, "13111311131113111311"},
		{[]int{0, 0, 1}, "33333333333333333333"},
	} {
		g, _ := newTestGroup(t, groupConfig{to: to})
		steer(g, row.weights...)
		if got := pickAll(t, g, twenty[:]...); got != row.want {
			t.Errorf("%v: %s, want %s", row.weights, got, row.want)
		}
	}

	g, _ := newTestGroup(t, groupConfig{to: to, groupTraits: groupTraits{balance: BalanceLeast}})
	steer(g, 4, 1, 1)
	if got := pickAll(t, g, twenty[:6]...); len(got) != 6 || g.members[0].open.Load() != 4 {
		t.Errorf("least, 4 to 1 to 1: %s", got)
	}

	g, _ = newTestGroup(t, groupConfig{to: to, groupTraits: groupTraits{balance: BalanceHash}})
	clients := make([]string, 3000)
	for i := range clients {
		clients[i] = fmt.Sprintf("10.%d.%d.1", i/256, i%256)
	}
	before := pickAll(t, g, clients...)
	steer(g, 4, 1, 1)
	after := pickAll(t, g, clients...)
	counts := map[byte]int{}
	for i := range after {
		counts[after[i]]++
		if before[i] == '1' && after[i] != '1' {
			t.Errorf("client %d has left the backend that became heavier", i)
		}
	}
	if n := counts['1']; n < 1850 || n > 2150 {
		t.Errorf("hash, 4 to 1 to 1: %d of 3000, want about 2000", n)
	}
}

// A drained backend gets nobody and keeps whom it has; a disabled one loses them; a reload changes neither.
func TestSteer(t *testing.T) {
	first, second := startBackend(t, echo), startBackend(t, echo)
	config := func() Config {
		return Config{Forwards: []Forward{{Name: "echo", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, first, second), Access: acl.AllowAll()}}}
	}
	s := start(t, config())
	visit := func() (conn *net.TCPConn, backend string) {
		t.Helper()
		conn = mustDial(t, s.at(t, "::1"))
		checkOne(t, conn)
		some, _ := s.Connections(func(Connection) bool { return true }, 100)
		return conn, some[len(some)-1].Backend
	}
	open := map[string]*net.TCPConn{}
	for range 2 {
		conn, backend := visit()
		open[backend] = conn
	}
	if open[first] == nil || open[second] == nil {
		t.Fatalf("the backends of two connections: %v", open)
	}
	steer := func(backend, state string, wantCut int) {
		t.Helper()
		if cut, err := s.Steer(BackendID{"forward", "echo", backend}, Steering{state, 1}); err != nil || cut != wantCut {
			t.Errorf("%s: %d cut, %v", state, cut, err)
		}
	}
	steer(first, BackendDraining, 0)
	for range 2 {
		for range 4 {
			if _, backend := visit(); backend != second {
				t.Errorf("a connection came to the drained backend")
			}
		}
		checkOne(t, open[first])
		if err := s.Apply(config()); err != nil {
			t.Fatal(err)
		}
	}
	steer(first, BackendDisabled, 1)
	if _, err := open[first].Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a connection to the disabled backend: %v, want a reset", err)
	}
	steer(first, BackendActive, 0)
	steer(second, BackendDraining, 0)
	if _, backend := visit(); backend != first {
		t.Error("the backend that was enabled again gets nobody")
	}
	if got := s.Steered(); len(got) != 1 || got[BackendID{"forward", "echo", second}].State != BackendDraining {
		t.Errorf("steered: %v", got)
	}
	for _, row := range []struct {
		id   BackendID
		want Steering
		err  string
	}{
		{BackendID{"forward", "echo", "10.0.0.9:1"}, Steering{BackendActive, 1}, `forward "echo", backend "10.0.0.9:1": no such backend`},
		{BackendID{"forward", "echo", first}, Steering{"up", 1}, `state "up" of a backend; write "active", "drain" or "disable"`},
		{BackendID{"forward", "echo", first}, Steering{BackendActive, 0}, `weight 0 of a backend; write 1 to 256, or drain it`},
	} {
		if _, err := s.Steer(row.id, row.want); err == nil || err.Error() != row.err {
			t.Errorf("got %v, want %s", err, row.err)
		}
	}
}

func checkOne(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	conn.Write([]byte("x"))
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// What is open is listed with whom it is for and what it moved, and can be ended one by one: TCP, UDP and HTTP.
func TestConnections(t *testing.T) {
	tcp, udp := startBackend(t, echo), startUDPBackend(t, echoDatagram)
	s := start(t, Config{
		Forwards: []Forward{
			{Name: "tcp", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, tcp), Access: acl.AllowAll()},
			{Name: "udp", Listen: mustListen(t, "udp/127.0.0.1:0"), To: mustBackend(t, udp), Access: acl.AllowAll()},
		},
		Sites: []Site{{Name: "a.test", Listen: mustListen(t, "127.0.0.2:0"), To: mustBackend(t, startWeb(t, "1")), Access: acl.AllowAll()}},
	})
	stream := mustDial(t, s.at(t, "::1"))
	checkOne(t, stream)
	datagrams := dialUDP(t, s.at(t, "127.0.0.1"))
	datagrams.Write([]byte("hello"))
	if _, err := datagrams.Read(make([]byte, 9)); err != nil {
		t.Fatal(err)
	}
	web := mustDial(t, s.at(t, "127.0.0.2"))
	io.WriteString(web, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if _, err := io.ReadFull(web, make([]byte, 17)); err != nil {
		t.Fatal(err)
	}

	poll(t, "what clients have read is not counted", func() bool { // a moment after they have it
		some, _ := s.Connections(func(c Connection) bool { return c.Down > 0 }, 3)
		return len(some) == 2
	})
	all, n := s.Connections(func(Connection) bool { return true }, 100)
	if n != 3 || len(all) != 3 {
		t.Fatalf("%d connections: %v", n, all)
	}
	for i, want := range []string{"tcp forward tcp ::1 " + tcp + " 1 1", "udp forward udp 127.0.0.1 " + udp + " 5 5", "tcp site a.test 127.0.0.1  0 0"} {
		c := all[i]
		if got := fmt.Sprintf("%s %s %s %s %s %d %d", c.Network, c.Kind, c.Name, c.Client, c.Backend, c.Up, c.Down); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if age := time.Since(c.Since); age < 0 || age > time.Minute {
			t.Errorf("%q is %s old", want, age)
		}
	}
	if some, n := s.Connections(func(c Connection) bool { return !c.Client.Is4() || c.Network == "udp" }, 1); n != 2 || len(some) != 1 || some[0].ID != all[0].ID {
		t.Errorf("%d match, and of them %v", n, some)
	}
	if s.Kill(0) || !s.Kill(all[0].ID) || !s.Kill(all[1].ID) || !s.Kill(all[2].ID) {
		t.Error("kill does not find what there is")
	}
	if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a connection that was killed: %v", err)
	}
	poll(t, "killed connections are listed", func() bool {
		_, n := s.Connections(func(Connection) bool { return true }, 1)
		return n == 0
	})
	stats := s.Stats()
	for _, v := range stats.Services {
		if want := map[string]int64{"tcp": 1, "udp": 0, "a.test": 1}[v.Name]; v.Waited.Count() != want {
			t.Errorf("%s: waited for a backend %d times, want %d", v.Name, v.Waited.Count(), want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.snapshot().Quantile(0.5); got != 0 {
		t.Errorf("median of nothing: %s", got)
	}
	const ms = time.Millisecond
	for _, d := range []time.Duration{0, ms, 2 * ms, 30 * ms, 40 * ms, 50 * ms, time.Hour, time.Hour} {
		h.observe(d)
	}
	before := h.snapshot()
	for _, row := range []struct {
		q    float64
		want time.Duration
	}{{0.125, ms / 2}, {0.25, ms}, {0.375, 5 * ms / 2}, {0.75, 50 * ms}, {0.99, 10 * time.Second}} {
		if got := before.Quantile(row.q); got != row.want {
			t.Errorf("quantile %v: %s, want %s", row.q, got, row.want)
		}
	}
	h.observe(4 * ms)
	if d := h.snapshot().Since(before); d.Count() != 1 || d.Sum != 4*ms || d.Quantile(1) != 5*ms {
		t.Errorf("since: %v", d)
	}
	if len(HistogramBounds())+1 != histogramBuckets {
		t.Error("buckets and bounds do not fit")
	}
}
