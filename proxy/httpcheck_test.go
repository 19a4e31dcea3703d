package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/acl"
)

// A check by HTTP speaks as the site does, asks for the site's name, comes from
// the pool's own address, and takes a backend out and back in by the status.
func TestCheckHTTP(t *testing.T) {
	var mu sync.Mutex
	status, seen := 500, ""
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.UserAgent() == "genkan-check" {
			host, _, _ := strings.Cut(r.RemoteAddr, ":")
			seen = r.Method + " " + r.RequestURI + " " + r.Host + " " + host
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			w.Write([]byte("I am well"))
		}
	})
	plain := httptest.NewServer(handler)
	t.Cleanup(plain.Close)
	secure := startSecure(t, handler, "app.internal", "h2", "http/1.1")
	proof := BackendTLS{CA: secure.cert, Name: "app.internal"}
	for _, row := range []struct {
		to  string
		tls BackendTLS
	}{
		{strings.TrimPrefix(plain.URL, "http://"), BackendTLS{}},
		{"h2c://" + startH2C(t, handler), BackendTLS{}},
		{"https://" + secure.addr, proof},
		{"h2://" + secure.addr, proof},
	} {
		mu.Lock()
		status = 500
		mu.Unlock()
		s := start(t, Config{
			Pools: []Pool{{Name: "default", Prefix: mustPrefix(t, "127.66.0.0/16")}},
			Sites: []Site{{
				Name: "a.test", Hosts: []string{"*.a.test", "A.test"}, Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, row.to), Access: acl.AllowAll(), Source: SourcePool,
				BackendTLS: row.tls,
				Check:      Check{Interval: 5 * time.Millisecond, Path: "/healthz?x=1", Status: "301", Expect: "well", Fall: 2, Rise: 1},
			}},
		})
		s.log.waitFor(t, `msg="backend is down"`, "status 500, want 301")
		mu.Lock()
		status = 301
		if want := "GET /healthz?x=1 a.test " + s.Pool("default").Probe().String(); seen != want {
			t.Errorf("%s: the backend saw %q, want %q", row.to, seen, want)
		}
		mu.Unlock()
		s.log.waitFor(t, `msg="backend is well again"`)
	}
}

// A check asks for a name that a backend takes.
func TestCheckHost(t *testing.T) {
	for _, row := range []struct {
		hosts []string
		host  string // of the check
		want  string
	}{
		{[]string{"default", "*.a.test", "[2001:db8::1]", "a.test"}, "", "[2001:db8::1]"},
		{[]string{"bücher.test"}, "", "xn--bcher-kva.test"},
		{[]string{"a.test"}, "bücher.test:8080", "xn--bcher-kva.test:8080"},
		{[]string{"a.test"}, "[2001:db8::2]", "[2001:db8::2]"},
	} {
		one := &site{Site: Site{Hosts: row.hosts, Check: Check{Path: "/", Host: row.host}}}
		check := one.checkAs()
		if err := check.fill(); err != nil || check.Host != row.want {
			t.Errorf("%q %q: asks for %q, %v, want %q", row.hosts, row.host, check.Host, err, row.want)
		}
	}
}

func TestCheckErrors(t *testing.T) {
	for _, row := range []struct {
		check Check
		want  string
	}{
		{Check{Host: "a.test"}, "check: host and status are of a check by HTTP; write a path, too"},
		{Check{Path: "healthz"}, `check: path "healthz" is none; write one that begins with "/", as "/healthz"`},
		{Check{Path: "/a b"}, `check: path "/a b" is none; write one that begins with "/", as "/healthz"`},
		{Check{Path: "/", Send: "x"}, "check: send and path are two ways of asking; keep one"},
		{Check{Path: "/", Status: "ok"}, `check: status "ok" is none; write one as "204", or a range as "200-399"`},
		{Check{Path: "/", Host: "a b"}, `check: host "a b": " " is not a byte of a host name; write what Host is to say, as "www.example.jp"`},
		{Check{Path: "/", Status: "300-200"}, `check: status "300-200" is none; write one as "204", or a range as "200-399"`},
	} {
		if err := row.check.fill(); err == nil || err.Error() != row.want {
			t.Errorf("%+v: %v\nwant %s", row.check, err, row.want)
		}
	}
}
