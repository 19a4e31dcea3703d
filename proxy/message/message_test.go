package message

import (
	"cmp"
	"fmt"
	"net/http"
	"testing"
)

// Each status has the words that net/http knows, but for those that RFC 9110
// has given others, and those that are not registered as such.
func TestStatusText(t *testing.T) {
	ours := map[int]string{
		413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 418: "Client Error", 422: "Unprocessable Content", 510: "Server Error",
	}
	for status := 100; status < 600; status++ {
		class := [...]string{"Informational", "Success", "Redirection", "Client Error", "Server Error"}[status/100-1]
		if want := cmp.Or(ours[status], http.StatusText(status), class); StatusText(status) != want {
			t.Errorf("%d: %q, want %q", status, StatusText(status), want)
		}
	}
}

func TestIsAlias(t *testing.T) {
	for _, row := range []struct {
		name string
		want bool
	}{
		{"X-Forwarded-For", false}, // not an alias but the thing itself
		{"X_Forwarded_For", true},
		{"x.forwarded.for", true},
		{"X-Forwarded_Host", true},
		{"X~Forwarded!For", true},
		{"Content'Length", true},
		{"X~Custom", false},
		{"Content_Length", true},
		{"Transfer_Encoding", true},
		{"HOST_", false},
		{"X_Real_IP", true},
		{"__RequestVerificationToken", false},
		{"X_Custom", false},
		{"dotted.name", false},
	} {
		if got := IsAlias(row.name); got != row.want {
			t.Errorf("IsAlias(%q) = %v, want %v", row.name, got, row.want)
		}
	}
}

func TestKeepTrailer(t *testing.T) {
	for _, row := range []struct {
		name string
		want bool
	}{
		{"Grpc-Status", true}, {"Digest", true}, {"X-Checksum", true},
		{"Content-Length", false}, {"transfer-encoding", false}, {"X_Forwarded_For", false},
		{"Set-Cookie", false}, {"Authorization", false}, {"Host", false}, {"Content_Type", false},
	} {
		if got := KeepTrailer(row.name); got != row.want {
			t.Errorf("KeepTrailer(%q) = %v, want %v", row.name, got, row.want)
		}
	}
}

func TestHeader(t *testing.T) {
	h := Header{{Name: "A", Value: "1"}, {Name: "b", Value: "2"}, {Name: "a", Value: "3"}}
	if h.Get("B") != "2" || !h.Has("a") || h.Has("c") || fmt.Sprint(h.Values("A")) != "[1 3]" {
		t.Errorf("read %v wrongly", h)
	}
	h.Set("A", "4")
	if got := fmt.Sprint(h); got != "[{b 2} {A 4}]" {
		t.Errorf("after Set: %s", got)
	}
}

// Abort tells who works on a request once, also one who comes late.
func TestAbort(t *testing.T) {
	var r Request
	calls := 0
	if !r.OnAbort(func() { calls++ }) {
		t.Error("a new request is not wanted")
	}
	r.Abort()
	r.Abort()
	if r.OnAbort(func() { calls++ }) || calls != 1 {
		t.Errorf("%d calls, want 1 and no more", calls)
	}
	r.Reset()
	if !r.OnAbort(nil) {
		t.Error("the next request is not wanted")
	}
}

// FuzzAuthority holds that what is accepted is canonical: it reads as itself.
func FuzzAuthority(f *testing.F) {
	for _, s := range []string{"a.test", "A.Test.:80", "[::1]:443", "192.0.2.1", "0x7f.1", "a.test:", "x@a", "a..b", "[::ffff:1.2.3.4]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAuthority(s)
		if err != nil {
			return
		}
		b, err := ParseAuthority(a.Text)
		if err != nil || a != b {
			t.Fatalf("%q is %+v, which reads as %+v, %v", s, a, b, err)
		}
	})
}
