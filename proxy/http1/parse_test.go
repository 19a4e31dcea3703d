package http1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"genkan/proxy/message"
	"genkan/proxy/sweep"
)

// wireOf is a wire that has text to read and then ends.
func wireOf(t testing.TB, text string) *wire {
	a, b := net.Pipe()
	go func() {
		io.WriteString(b, text)
		b.Close()
	}()
	t.Cleanup(func() { a.Close(); b.Close() })
	w := &wire{}
	w.init(a, sweep.New().Guard(a, nil))
	return w
}

var testBounds = bounds{line: 200, head: 1000, fields: 10}

// parse reads one request head from text.
func parse(t testing.TB, text string) (*message.Request, bool, error) {
	head, err := wireOf(t, text).readHead(testBounds, 0)
	if err != nil {
		return nil, false, err
	}
	r := &message.Request{}
	keep, err := parseRequest(head, r)
	return r, keep, err
}

func TestParseRequest(t *testing.T) {
	host := "Host: a.test\r\n"
	for _, row := range []struct{ text, want string }{
		{"GET / HTTP/1.1\r\n" + host, "GET / a.test 0 keep"},
		{"\r\nGET / HTTP/1.1\r\n" + host, "GET / a.test 0 keep"},
		{"GET / HTTP/1.1\r\nhOST:a.test\t \r\n", "GET / a.test 0 keep"},
		{"GET / HTTP/1.0\r\n", "GET /  0 close"},
		{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", "GET /  0 keep"},
		{"GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n" + host, "GET / a.test 0 close"},
		{"OPTIONS * HTTP/1.1\r\n" + host, "OPTIONS * a.test 0 keep"},
		{"OPTIONS http://b.test HTTP/1.1\r\n" + host, "OPTIONS * b.test 0 keep"},
		{"GET http://b.test HTTP/1.1\r\n" + host, "GET / b.test 0 keep"},
		{"GET HTTPS://B.test:8443?x HTTP/1.1\r\n" + host, "GET /?x b.test:8443 0 keep"},
		{"GET / HTTP/1.1\r\nHost: A.Test.:080\r\n", "GET / a.test:80 0 keep"},
		{"GET / HTTP/1.1\r\nHost: a.test:\r\n", "GET / a.test 0 keep"},
		{"GET / HTTP/1.1\r\nHost: [2001:DB8::0:1]:80\r\n", "GET / [2001:db8::1]:80 0 keep"},
		{"POST / HTTP/1.1\r\nContent-Length: 007\r\n" + host, "POST / a.test 7 keep"},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n" + host, "POST / a.test -1 keep"},

		{"\r\nGET / HTTP/1.1\r\n" + host, "GET / a.test 0 keep"},
		{"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" + host, "GET / a.test 0 keep"},
		{"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" + host, `400 empty line in place of a message`},
		{"GET / HTTP/1.1\r\n" + host + host, `400 2 Host fields: want one`},
		{"GET / HTTP/1.1\r\n", `400 0 Host fields: want one`},
		{"GET / HTTP/1.1\nHost: a.test\r\n", `400 line 1 ends with LF without CR`},
		{"GET /\r HTTP/1.1\r\n" + host, `400 target "/\r": byte "\r": want it percent-encoded`},
		{"GET / HTTP/1.1\r\nX: a\rb\r\n" + host, `400 field "X": control byte in the value`},
		{"GET / HTTP/1.1\r\nX: a\r\n b\r\n" + host, `400 field continued on a second line (obs-fold)`},
		{"GET / HTTP/1.1\r\nX : a\r\n" + host, `400 field "X : a": " " is not a byte of a name`},
		{"GET / HTTP/1.1\r\nX\r\n" + host, `400 field "X" has no colon`},
		{"GET / HTTP/1.2\r\n" + host, `505 version HTTP/1.2 is not served here`},
		{"GET / HTTP/1.1 \r\n" + host, `400 request line "GET / HTTP/1.1 ": want HTTP/1.1 or HTTP/1.0 at its end`},
		{"INVALID CONNECTION PREFACE\r\n", `400 request line "INVALID CONNECTION PREFACE": no version of HTTP`},
		{"GET /# HTTP/1.1\r\n" + host, `400 target "/#": byte "#": want it percent-encoded`},
		{"GET /%zz HTTP/1.1\r\n" + host, `400 target "/%zz": "%" without two hex digits`},
		{"GET a.test:80 HTTP/1.1\r\n" + host, `400 target "a.test:80": want a path, or http:// or https://`},
		{"GET ftp://a.test/ HTTP/1.1\r\n" + host, `400 target "ftp://a.test/": want a path, or http:// or https://`},
		{"GET http://u@a.test/ HTTP/1.1\r\n" + host, `400 host "u@a.test": "@" is not a byte of a host name`},
		{"CONNECT a.test:80 HTTP/1.1\r\n" + host, `405 CONNECT is not served`},
		{"CONNECT / HTTP/1.1\r\n" + host, `405 CONNECT is not served`},
		{"GET / HTTP/1.1\r\nHost: 127.1\r\n", `400 host "127.1": write an IPv4 address as four decimal numbers`},
		{"GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n", `400 host "[127.0.0.1]": want an IPv6 address without zone in the brackets`},
		{"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n", `400 host "[fe80::1%25eth0]": want an IPv6 address without zone in the brackets`},
		{"GET / HTTP/1.1\r\nHost: a.test:80abc\r\n", `400 host "a.test:80abc": port: want digits`},
		{"GET / HTTP/1.1\r\nHost: a.test:0\r\n", `400 host "a.test:0": port: want 1 to 65535`},
		{"GET / HTTP/1.1\r\nHost:\r\n", `400 host "": want a name of 1 to 253 bytes`},
		{"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n" + host, `400 framing fields repeated`},
		{"POST / HTTP/1.1\r\nContent-Length: 5, 5\r\n" + host, `400 Content-Length "5, 5": want digits only`},
		{"POST / HTTP/1.1\r\nContent-Length: +5\r\n" + host, `400 Content-Length "+5": want digits only`},
		{"POST / HTTP/1.1\r\nContent-Length:\r\n" + host, `400 Content-Length "": want 1 to 19 digits`},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n" + host, `400 both Transfer-Encoding and Content-Length`},
		{"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n" + host, `400 Transfer-Encoding "gzip, chunked": want chunked`},
		{"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" + host, `400 Transfer-Encoding in HTTP/1.0`},
		{"POST / HTTP/1.1\r\nExpect: y 100-continue\r\n" + host, `417 Expect y 100-continue: want 100-continue`},
		{"GET /" + strings.Repeat("a", 200) + " HTTP/1.1\r\n" + host, `414 request line longer than 200 bytes`},
		{"GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 200) + "\r\n" + host, `431 field line longer than 200 bytes`},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("X: a\r\n", 11) + host, `431 more than 10 fields`},
		{"GET / HTTP/1.1\r\n" + strings.Repeat("X: "+strings.Repeat("a", 150)+"\r\n", 9) + host, `431 header longer than 1000 bytes`},
		{"\x16\x03\x01", `400 first byte "\x16" begins no message`},
	} {
		r, keep, err := parse(t, row.text+"\r\n")
		got := ""
		if e, ok := err.(*RequestError); ok {
			got = fmt.Sprint(e.Status, " ", e.Msg)
		} else if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%s %s %s %d %s", r.Method, r.Target, r.Authority.Text, r.Length, map[bool]string{true: "keep", false: "close"}[keep])
		}
		if got != row.want {
			t.Errorf("%q\n got %s\nwant %s", row.text, got, row.want)
		}
	}
}

func TestHopByHopFieldsStay(t *testing.T) {
	r, _, err := parse(t, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: X-A, host\r\nX-A: 1\r\nX-B: 2\r\nTE: trailers\r\n"+
		"Keep-Alive: 5\r\nProxy-Connection: x\r\nTrailer: x\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.Header); got != "[{X-B 2}]" || r.Upgrade {
		t.Errorf("passed on: %s, upgrade %v; want X-B only", got, r.Upgrade)
	}
}

func TestParseChunks(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"5\r\nhello\r\n0\r\n\r\n", "hello"},
		{"5;a=b;c=\"d e\"\r\nhello\r\n00\r\n\r\n", "hello"},
		{"5 ;a\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n", "hello0123456789"},
		{"0\r\nContent-Length: 5\r\nX-Forwarded-For: 1\r\nDigest: z\r\n\r\n", "trailer [{Digest z}]"},
		{"5\nhello\r\n0\r\n\r\n", "line in chunked framing ends with LF without CR"},
		{"5\r\nhello0\r\n\r\n", "chunk-data not followed by CR LF"},
		{"5 \r\nhello\r\n0\r\n\r\n", `chunk-size followed by " ": want CR LF or an extension`},
		{"5;\x00\r\nhello\r\n0\r\n\r\n", `chunk-size followed by ";\x00": want CR LF or an extension`},
		{"5; a = \"\\\"\" ;b;c=d\r\nhello\r\n0;e=\"\xff\"\r\n\r\n", "hello"},
		{"5;a=\"\r\nhello\r\n0\r\n\r\n\"\r\n", `chunk-size followed by ";a=\"": want CR LF or an extension`},
		{"5;a=\"\\\r\nhello\r\n0\r\n\r\n", `chunk-size followed by ";a=\"\\": want CR LF or an extension`},
		{"5;a=\"\x7f\"\r\nhello\r\n0\r\n\r\n", `chunk-size followed by ";a=\"\x7f\"": want CR LF or an extension`},
		{"5;a=\r\nhello\r\n0\r\n\r\n", `chunk-size followed by ";a=": want CR LF or an extension`},
		{"5;a=b c\r\nhello\r\n0\r\n\r\n", `chunk-size followed by ";a=b c": want CR LF or an extension`},
		{"0x5\r\nhello\r\n0\r\n\r\n", `chunk-size followed by "x5": want CR LF or an extension`},
		{"\r\n", `chunk-size "": want hex digits`},
		{"-5\r\n", `chunk-size "-5": want hex digits`},
		{"fffffffffffffffff\r\n", `chunk-size "fffffffffffffffff": too large`},
		{"5\r\nhel", "content cut short"},
		{"5\r\nhello\r\n", "content cut short"},
		{"0\r\n", "content cut short"},
		{"0\r\nX : y\r\n\r\n", `field "X : y": " " is not a byte of a name`},
	} {
		b := &body{}
		b.reset(wireOf(t, row.text), chunked, 0)
		b.bounds = testBounds
		data, err := io.ReadAll(b)
		got := string(data)
		if err != nil {
			got = err.Error()
		} else if len(b.Trailer()) > 0 && got == "" {
			got = fmt.Sprint("trailer ", b.Trailer())
		}
		if got != row.want {
			t.Errorf("%q\n got %s\nwant %s", row.text, got, row.want)
		}
	}
}

// FuzzRequest holds that whatever we take for a request and write on is
// exactly one request to net/http, with the same method, target, host and
// length, and that we refuse what net/http refuses.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
		"POST http://b.test:80/x?y#z HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close, x\r\nX: y\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nHost: [::1]:80\r\nExpect: 100-continue\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		i := strings.Index(text, "\r\n\r\n")
		if i < 0 {
			return
		}
		head := text[:i+4]
		r, _, err := parse(t, head)
		if err != nil {
			return
		}
		head = strings.TrimPrefix(head, "\r\n")
		if _, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head))); err != nil {
			t.Fatalf("%q: we accept, net/http says %v", head, err)
		}
		out := string(appendRequest(nil, r, netip.MustParseAddrPort("192.0.2.1:80")))
		br := bufio.NewReader(strings.NewReader(out))
		std, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("%q became %q: %v", head, out, err)
		}
		host := r.Authority.Text
		if host == "" {
			host = "192.0.2.1:80"
		}
		if std.Method != r.Method || std.RequestURI != r.Target || std.Host != host || std.ContentLength != r.Length {
			t.Fatalf("%q became %q: read as %s %s %s %d", head, out, std.Method, std.RequestURI, std.Host, std.ContentLength)
		}
		if std.ContentLength == 0 && br.Buffered() != 0 {
			t.Fatalf("%q became %q: %d bytes are left over", head, out, br.Buffered())
		}
		if n := strings.Count(out, "\r\n"); n != strings.Count(out, "\n") || n != strings.Count(out, "\r") {
			t.Fatalf("%q became %q: bare CR or LF", head, out)
		}
	})
}

// FuzzChunks holds that what we take for chunked content is the same to
// net/http, and ends at the same byte.
func FuzzChunks(f *testing.F) {
	f.Add("5\r\nhello\r\n0\r\n\r\n")
	f.Add("5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\nrest")
	f.Fuzz(func(t *testing.T, text string) {
		b := &body{}
		w := wireOf(t, text)
		b.reset(w, chunked, 0)
		b.bounds = testBounds
		data, err := io.ReadAll(b)
		if err != nil {
			return
		}
		br := bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + text))
		std, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(std.Body)
		if err != nil || string(want) != string(data) {
			t.Fatalf("%q: we read %q, net/http %q, %v", text, data, want, err)
		}
		left, _ := io.ReadAll(br)
		rest := string(w.unread())
		for {
			if err := w.fill(); err != nil {
				break
			}
			rest = string(w.unread())
		}
		if string(left) != rest {
			t.Fatalf("%q: we leave %q, net/http %q", text, rest, left)
		}
	})
}
