package http3_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"genkan/proxy/internal/webtest"
)

// good are the pseudo-header fields of a request without fault.
var good = [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a.test"}, {":path", "/"}}

// edited is good with fields in the place of those of the same name, or behind
// them; "-name" takes one away.
func edited(fields ...string) (all [][2]string) {
	all = append(all, good...)
next:
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		for i := range all {
			switch {
			case strings.HasPrefix(name, ":") && all[i][0] == name:
				all[i][1] = value
				continue next
			case name == "-"+all[i][0]:
				all = append(all[:i:i], all[i+1:]...)
				continue next
			}
		}
		all = append(all, [2]string{name, value})
	}
	return all
}

// data is a DATA frame.
func data(text string) []byte { return append(prefixed([]byte{0x00}, 0, 6, len(text)), text...) }

// TestMalformed holds RFC 9114 §4: what is no request is refused, in the fields
// as in the content, and one that is right is one at the backend.
func TestMalformed(t *testing.T) {
	rec := webtest.StartRecorder(t)
	f := startFront(t, rec.Addr, nil)
	c, seen := f.dialRaw(t), 0
	send := func(name string, want int, frames ...[]byte) {
		t.Helper()
		s, err := c.OpenStreamSync(t.Context())
		if err != nil { // what was sent last has ended the connection
			c = f.dialRaw(t)
			s, err = c.OpenStreamSync(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, frame := range frames {
			s.Write(frame)
		}
		s.Close()
		s.SetReadDeadline(time.Now().Add(patience))
		io.Copy(io.Discard, s)
		requests, faults := rec.Requests()
		if got := requests[seen:]; len(got) != want || len(faults) > 0 {
			t.Errorf("%s: the backend got %q %q, want %d requests", name, got, faults, want)
		}
		seen = len(requests)
	}
	for _, row := range refused {
		send(row, 0, headers(edited(strings.Split(row, "|")...)...))
		send("POST "+row, 0, headers(edited(strings.Split(":method=POST|"+row, "|")...)...), data("hello"))
	}
	for _, row := range []string{"x=y", "te=trailers", "x=", "x=a\tb", "host=a.test", "-:authority|host=a.test", ":path=//b/c", ":path=/%2e%2e", ":path=/?a|b", "cookie=a|cookie=b", "x_forwarded_for=1", "content-length=0"} {
		send(row, 1, headers(edited(strings.Split(row, "|")...)...))
	}
	post := headers(edited(":method=POST", "content-length=5")...)
	send("content", 1, post, data("hello"))
	send("content in parts", 1, post, data("he"), data("llo"))
	send("less content", 0, post, data("hell"))
	send("more content", 0, post, data("hellos"))
	send("no content", 0, post)
	send("content first", 0, data("hello"), post)
	chunked := headers(edited(":method=POST")...)
	send("trailer", 1, chunked, data("hello"), headers([2]string{"x", "y"}))
	send("trailer with a pseudo-header", 0, chunked, data("hello"), headers([2]string{":path", "/"}))
	send("content behind the trailer", 0, chunked, data("hello"), headers([2]string{"x", "y"}), data("more"))
	send("control frame", 0, chunked, []byte{0x04, 0x00})
	send("cut", 0, post[:9])
	for _, r := range func() []webtest.Seen { got, _ := rec.Requests(); return got }() {
		if xff := r.Header["x-forwarded-for"]; fmt.Sprint(xff) != "[127.0.0.1]" || r.Header["x_forwarded_for"] != nil || len(r.Header["cookie"]) > 1 {
			t.Errorf("the backend got %q", r)
		}
	}
}

// refused are edits of good that make it malformed.
var refused = []string{
	":path=", ":path=x", ":path=https://a.test/", ":path=*", ":path=/a#b", ":path=/a b", ":path=/\x00", ":path=/\t", ":path=/\r\nx: y", ":path=/\x7f", ":path=/\xe9", ":path=?x", "-:path",
	":method=", ":method=G T", ":method=GET / HTTP/1.1\r\nx: y", ":method=G\x00", ":method=G(T", "-:method", ":method=CONNECT", ":method=CONNECT|:protocol=connect-udp", ":protocol=websocket", ":method=CONNECT|-:path|-:scheme",
	":authority=", ":authority=u@a.test", ":authority=a b", ":authority=a.test/x", ":authority=a.test#x", ":authority=a.test,b.test", ":authority=a.test:99999", ":authority=[::1", ":authority=[127.0.0.1]", ":authority=[fe80::1%eth0]", ":authority=127.1", ":authority=a\r\nb", ":authority=\xe4.test", "-:authority",
	"-:authority|host=a.test|host=b.test", "host=b.test", "-:authority|host=a b",
	":status=200", ":foo=x", "x=y|-:path|:path=/", // behind a field
	"X=y", "x y=z", "x:y=z", "=v", "x\r\ny=z", "x\x00=z", "x\xe9=z", "x(=z",
	"x=a\rb", "x=a\nb", "x=a\r\nb: c", "x=a\x00b", "x=\x01", "x=a\x7f", "cookie=a\r\nb",
	"connection=close", "keep-alive=x", "proxy-connection=x", "transfer-encoding=chunked", "upgrade=h2c", "te=gzip", "te=trailers, chunked",
	"content-length=+5", "content-length=-1", "content-length=0x5", "content-length=5,5", "content-length=5|content-length=6", "content-length=99999999999999999999", "content-length=9",
	"expect=y 100-continue",
}
