package http2_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"genkan/proxy/fiber"
	"genkan/proxy/http2"
	"genkan/proxy/internal/webtest"
	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is the deadline of everything that should take milliseconds.
const patience = 20 * time.Second

type front struct {
	*webtest.Front
	server *http2.Server
}

func startFront(t testing.TB, backend string, edit func(*http2.Config)) *front {
	t.Helper()
	s := sweep.New()
	c := http2.Config{Sweeper: s}
	if edit != nil {
		edit(&c)
	}
	f := &front{server: http2.NewServer(c)}
	loop := startLoop(t)
	serve := func(c net.Conn, from message.Source, h message.Handler) {
		conn, err := loop.Take(c.(*net.TCPConn))
		if err != nil {
			t.Error(err)
			return
		}
		ended := make(chan struct{})
		f.server.NewConn(conn, nil, from, h).Start(func() { close(ended) })
		<-ended
	}
	f.Front = webtest.StartFront(t, backend, s, serve, f.server.Cut, nil)
	return f
}

// startLoop gives an event loop, which ends with the test.
func startLoop(t testing.TB) *fiber.Loop {
	loop, err := fiber.New()
	if err != nil {
		t.Fatal(err)
	}
	go loop.Run()
	t.Cleanup(loop.Close)
	return loop
}

// What a client was told: the statuses, the streams that were reset, and
// whether the connection ended.
type told struct {
	statuses []string
	resets   []h2.ErrCode
	goaway   []h2.ErrCode
	closed   bool
}

// listen reads frames until the connection ends or nothing comes any more.
func listen(c net.Conn, quiet time.Duration) told { return listenBy(reader(c), c, quiet) }

func reader(c net.Conn) *h2.Framer {
	fr := h2.NewFramer(io.Discard, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return fr
}

func listenBy(fr *h2.Framer, c net.Conn, quiet time.Duration) (got told) {
	for {
		c.SetReadDeadline(time.Now().Add(quiet))
		f, err := fr.ReadFrame()
		if err != nil {
			got.closed = !os.IsTimeout(err)
			return got
		}
		switch f := f.(type) {
		case *h2.MetaHeadersFrame:
			got.statuses = append(got.statuses, f.PseudoValue("status"))
		case *h2.RSTStreamFrame:
			got.resets = append(got.resets, f.ErrCode)
		case *h2.GoAwayFrame:
			got.goaway = append(got.goaway, f.ErrCode)
		}
	}
}

// TestVectors sends each client stream and looks at what the strict recorder
// behind us got.
func TestVectors(t *testing.T) {
	for _, v := range webtest.ReadVectors(t, "testdata", func(n string) bool { return !strings.HasPrefix(n, "h2-flood") }) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			rec := webtest.StartRecorder(t)
			f := startFront(t, rec.Addr, nil)
			c, err := net.Dial("tcp", f.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(v.Data); err != nil {
				t.Fatal(err)
			}
			got := listen(c, 500*time.Millisecond)
			requests, faults := rec.Requests()
			told := len(got.statuses) == 1 && got.statuses[0] == "400" || len(got.statuses) == 0 && len(got.resets)+len(got.goaway) > 0
			refused := len(requests) == 0 && told
			one := len(requests) == 1 && len(got.statuses) == 1 && got.statuses[0] == "200" && len(faults) == 0
			pass := map[string]bool{"400": refused, "one": one, "400/one": refused || one}[v.Expected]
			if !pass {
				t.Errorf("want %s; client was told %+v, backend saw %q %q", v.Expected, got, requests, faults)
			}
		})
	}
}

// TestFloods holds R17: at most 0.3 s of CPU and 50 requests at the backend,
// and the connection closed within 2 s.
func TestFloods(t *testing.T) {
	for _, v := range webtest.ReadVectors(t, "testdata", func(n string) bool { return strings.HasPrefix(n, "h2-flood") }) {
		t.Run(v.Name, func(t *testing.T) {
			rec := webtest.StartRecorder(t)
			f := startFront(t, rec.Addr, nil)
			c, err := net.Dial("tcp", f.Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			began, cpu := time.Now(), cpuTime(t)
			c.SetWriteDeadline(began.Add(patience))
			c.Write(v.Data)
			got := listen(c, patience)
			took, spent := time.Since(began), cpuTime(t)-cpu
			requests, _ := rec.Requests()
			t.Logf("closed after %v, CPU %v with the client's, %d requests, told %v %d resets", took, spent, len(requests), got.goaway, len(got.resets))
			if !got.closed || took > 2*time.Second || len(requests) > 50 || spent > 300*time.Millisecond {
				t.Errorf("closed %v after %v, %d requests, CPU %v; want closed within 2 s, at most 50 and 300 ms", got.closed, took, len(requests), spent)
			}
		})
	}
}

// TestGeneratedFloods are the other ways of Rapid Reset and its kin, each a
// frame or two over and over.
func TestGeneratedFloods(t *testing.T) {
	for _, row := range []struct {
		name string
		each func(fr *h2.Framer, id uint32, block []byte)
	}{
		{"rapid-reset", func(fr *h2.Framer, id uint32, block []byte) {
			fr.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
			fr.WriteRSTStream(id, h2.ErrCodeCancel)
		}},
		{"made-to-reset-by-window", func(fr *h2.Framer, id uint32, block []byte) {
			fr.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true})
			fr.WriteWindowUpdate(id, 1<<31-1)
		}},
		{"self-dependency", func(fr *h2.Framer, id uint32, block []byte) {
			fr.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true, Priority: h2.PriorityParam{StreamDep: id}})
		}},
		{"continuation-of-nothing", func(fr *h2.Framer, id uint32, block []byte) {
			if id == 1 {
				fr.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
			}
			fr.WriteContinuation(1, false, nil)
		}},
		{"continuation-of-a-byte", func(fr *h2.Framer, id uint32, block []byte) {
			if id == 1 { // a name of 60,000 bytes begins
				begun := append(bytes.Clone(block), 0x00, 0x7f, 0xe1, 0xd3, 0x03)
				fr.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: begun, EndStream: true})
			}
			fr.WriteContinuation(1, false, []byte("a"))
		}},
		{"padding", func(fr *h2.Framer, id uint32, block []byte) {
			if id == 1 {
				fr.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
			}
			fr.WriteDataPadded(1, false, nil, []byte{0})
		}},
		{"settings", func(fr *h2.Framer, _ uint32, _ []byte) { fr.WriteSettings() }},
		{"window-update", func(fr *h2.Framer, _ uint32, _ []byte) { fr.WriteWindowUpdate(0, 1) }},
		{"priority", func(fr *h2.Framer, id uint32, _ []byte) { fr.WritePriority(id, h2.PriorityParam{StreamDep: 0}) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			var head, flood bytes.Buffer
			enc := hpack.NewEncoder(&head)
			for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a.test"}} {
				enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
			}
			flood.WriteString(h2.ClientPreface)
			fr := h2.NewFramer(&flood, nil)
			fr.AllowIllegalWrites = true
			fr.WriteSettings()
			for i := range uint32(50_000) {
				row.each(fr, 2*i+1, head.Bytes())
			}
			rec := webtest.StartRecorder(t)
			c, err := net.Dial("tcp", startFront(t, rec.Addr, nil).Addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			began, cpu := time.Now(), cpuTime(t)
			c.SetWriteDeadline(began.Add(patience))
			c.Write(flood.Bytes())
			got := listen(c, patience)
			took, spent := time.Since(began), cpuTime(t)-cpu
			requests, _ := rec.Requests()
			if !got.closed || took > 2*time.Second || len(requests) > 50 || spent > 300*time.Millisecond {
				t.Errorf("closed %v after %v, %d requests, CPU %v; want closed within 2 s, at most 50 and 300 ms", got.closed, took, len(requests), spent)
			}
		})
	}
}

// TestNoWindow opens as many streams as allowed without a window for any
// answer: the backend is not asked for them all, and a client to whom no window
// comes is not kept.
func TestNoWindow(t *testing.T) {
	for _, window := range []uint32{0, 1} {
		rec := webtest.StartRecorder(t)
		addr := startFront(t, rec.Addr, nil).Addr
		patient, in := openBlind(t, addr, window)
		got := listenBy(in, patient, 200*time.Millisecond)
		if requests, _ := rec.Requests(); len(requests) > 16 || len(got.statuses) != len(requests) {
			t.Errorf("%d requests at the backend, %d answers begun; want at most 16 and as many", len(requests), len(got.statuses))
		}
		h2.NewFramer(patient, nil).WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: 2000})
		if got = listenBy(in, patient, 2*time.Second); len(got.statuses) < 84 || got.closed {
			t.Errorf("%d more answers once there is a window, closed %v; want the rest of 100", len(got.statuses), got.closed)
		}
		began := time.Now()
		blind, in := openBlind(t, addr, window)
		got = listenBy(in, blind, patience)
		if took := time.Since(began); took > 2*time.Second || fmt.Sprint(got.goaway) != "[ENHANCE_YOUR_CALM]" {
			t.Errorf("closed after %v with %v; want ENHANCE_YOUR_CALM within 2 s", took, got.goaway)
		}
	}
}

// openBlind is a client with 100 requests and a window for each answer.
func openBlind(t *testing.T, addr string, window uint32) (net.Conn, *h2.Framer) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var out, head bytes.Buffer
	out.WriteString(h2.ClientPreface)
	fr := h2.NewFramer(&out, nil)
	fr.WriteSettings(h2.Setting{ID: h2.SettingInitialWindowSize, Val: window})
	enc := hpack.NewEncoder(&head)
	for i := range uint32(100) {
		head.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a.test"}} {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		fr.WriteHeaders(h2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true})
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	return c, reader(c)
}

// openRaw is a client that has sent its preface and settings: its connection,
// and what writes and reads frames.
func openRaw(t *testing.T, addr string, settings ...h2.Setting) (c net.Conn, out, in *h2.Framer) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, h2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	out = h2.NewFramer(c, nil)
	if err := out.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return c, out, reader(c)
}

// headBlock is the fields of a request for "/", and more, without the help of
// hpack's table: so it stands alone.
func headBlock(method string, more ...[2]string) []byte {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	enc.SetMaxDynamicTableSize(0)
	for _, f := range append([][2]string{{":method", method}, {":scheme", "http"}, {":path", "/"}, {":authority", "a.test"}}, more...) {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return head.Bytes()
}

// A window that opens by one byte at a time, each long before the write timeout,
// holds an answer no longer than one that does not open.
func TestWindowsOfCrumbs(t *testing.T) {
	backend := webtest.StartBackend(t, func(c *net.TCPConn) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"+strings.Repeat("x", 1000))
	})
	addr := startFront(t, backend, func(c *http2.Config) { c.WriteTimeout = 400 * time.Millisecond }).Addr
	c, client, in := openRaw(t, addr, h2.Setting{ID: h2.SettingInitialWindowSize, Val: 1})
	client.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: headBlock("GET"), EndStream: true, EndHeaders: true})
	began := time.Now()
	c.SetDeadline(began.Add(patience))
	for {
		frame, err := in.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *h2.DataFrame:
			if f.StreamEnded() {
				t.Fatal("the whole answer came, the test proves nothing")
			}
			time.Sleep(100 * time.Millisecond)
			client.WriteWindowUpdate(1, 1)
		case *h2.RSTStreamFrame:
			if took := time.Since(began); took < 300*time.Millisecond {
				t.Errorf("reset after %v already", took)
			}
			return
		}
	}
}

func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
