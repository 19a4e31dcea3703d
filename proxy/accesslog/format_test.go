package accesslog

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"genkan/acl"
)

func addr(t testing.TB, text string) acl.Addr {
	t.Helper()
	a, err := acl.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.FixedZone("JST", 9*3600))

func request(t testing.TB) Entry {
	return Entry{
		Began: noon, Lasted: 12345678 * time.Nanosecond, Waited: 10 * time.Millisecond, Site: "www", Client: addr(t, "2001:db8::7"), Port: 4711, Tunnel: true,
		Peer: addr(t, "10.9.0.1"), User: "joe", TLS: true, Proto: "HTTP/2", Method: "GET", Host: "www.example.jp", Target: "/x?y=1",
		Referer: "https://a.test/", Agent: `Mozilla "5.0"`, Status: 200, Sent: 1234, Allowed: true, Rule: "allow all", Place: "genkan.toml:8:10",
		Backend: "10.0.0.10:8080", Pool: addr(t, "100.64.0.7"),
	}
}

func connection(t testing.TB) Entry {
	return Entry{
		Began: noon, Lasted: time.Minute, Forward: "ssh", Client: addr(t, "::ffff:192.0.2.1"), Port: 50000, Network: "tcp",
		Status: 403, Received: 3, Rule: "deny all", Place: "genkan.toml:9:1", Cause: "denied",
	}
}

func TestCombined(t *testing.T) {
	for _, row := range []struct {
		entry Entry
		want  string
	}{
		{request(t), `2001:db8::7 - joe [22/Nov/2026:12:00:00 +0900] "GET /x?y=1 HTTP/2.0" 200 1234 "https://a.test/" "Mozilla \"5.0\""`},
		{connection(t), `192.0.2.1 - - [22/Nov/2026:12:00:00 +0900] "FORWARD ssh tcp" 403 0 "-" "-"`},
		{Entry{Began: noon, Client: addr(t, "192.0.2.1"), Status: 400}, `192.0.2.1 - - [22/Nov/2026:12:00:00 +0900] "-" 400 0 "-" "-"`},
		{Entry{Began: noon, User: "a b]\n\"", Method: "GET", Target: "/", Proto: "HTTP/1.1", Agent: "\x1b[2J\r\nhack\xff \\"},
			`- - a\x20b\x5d\x0a\x22 [22/Nov/2026:12:00:00 +0900] "GET / HTTP/1.1" 0 0 "-" "\x1b[2J\x0d\x0ahack\xff \\"`},
	} {
		if got := string(appendCombined(nil, &row.entry)); got != row.want {
			t.Errorf("%s\nwant\n%s", got, row.want)
		}
	}
}

func TestJSON(t *testing.T) {
	for _, row := range []struct {
		entry Entry
		want  string
	}{
		{request(t), `{"time":"2026-11-22T03:00:00.123456Z","front":"f1","site":"www","client":"2001:db8::7","family":"ipv6","port":4711,"peer":"10.9.0.1",` +
			`"tunnel":true,"user":"joe","tls":true,"proto":"HTTP/2","method":"GET","host":"www.example.jp","target":"/x?y=1","referer":"https://a.test/",` +
			`"agent":"Mozilla \"5.0\"","status":200,"sent":1234,"verdict":"allow","rule":"allow all","at":"genkan.toml:8:10","backend":"10.0.0.10:8080",` +
			`"pool":"100.64.0.7","lasted":0.012346,"waited":0.010000}`},
		{connection(t), `{"time":"2026-11-22T03:00:00.123456Z","front":"f1","forward":"ssh","client":"192.0.2.1","family":"ipv4","port":50000,"tunnel":false,` +
			`"network":"tcp","tls":false,"status":403,"sent":0,"received":3,"verdict":"deny","rule":"deny all","at":"genkan.toml:9:1","lasted":60.000000,"cause":"denied"}`},
	} {
		if got := string(appendJSON(nil, &row.entry, "f1")); got != row.want {
			t.Errorf("%s\nwant\n%s", got, row.want)
		}
	}
}

// FuzzLine holds that no text of a stranger can make a second line, leave its
// quotes, or reach a terminal; and that JSON gives it back.
func FuzzLine(f *testing.F) {
	f.Add("GET", "/", "\r\n127.0.0.1 - - [x]", "\x1b]0;x\a")
	f.Add("G\"", "\\", "\\\"", "\u2028\U0001F600\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, method, target, referer, agent string) {
		e := Entry{Began: noon, Client: addr(t, "192.0.2.1"), User: agent, Method: method, Target: target, Proto: "HTTP/1.1", Referer: referer, Agent: agent, Host: agent}
		line := appendCombined(nil, &e)
		quotes := 0
		for i, c := range line {
			if c < ' ' || c >= 0x7f {
				t.Fatalf("byte %q in %q", c, line)
			}
			escaped := 0
			for j := i - 1; j >= 0 && line[j] == '\\'; j-- {
				escaped++
			}
			if c == '"' && escaped%2 == 0 {
				quotes++
			}
		}
		if quotes != 6 {
			t.Fatalf("%d quotes in %q", quotes, line)
		}
		object := appendJSON(nil, &e, "f")
		var got map[string]any
		if err := json.Unmarshal(object, &got); err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		for _, c := range object {
			if c < ' ' || c >= 0x7f {
				t.Fatalf("byte %q in %q", c, object)
			}
		}
		if want := strings.ToValidUTF8(referer, "\ufffd"); utf8.ValidString(referer) && len(referer) <= maxField && referer != "" && got["referer"] != want {
			t.Fatalf("referer %q came back as %q", referer, got["referer"])
		}
		if len(line) > maxLine || len(object) > maxLine {
			t.Fatalf("lines of %d and %d bytes", len(line), len(object))
		}
	})
}

func TestNoAllocations(t *testing.T) {
	e, b := request(t), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { appendJSON(b, &e, "front"); appendCombined(b, &e) }); n != 0 {
		t.Errorf("%v allocations a line", n)
	}
}
