package web

import (
	"net/url"
	"testing"
)

func TestRedirect(t *testing.T) {
	for _, row := range []struct{ template, host, path, want string }{
		{"https://www.example.jp{path}", "a.test", "/x?y=1", "https://www.example.jp/x?y=1"},
		{"https://{host}{path}", "a.test", "/x", "https://a.test/x"},
		{"https://{host}:8443/moved", "[2001:db8::1]", "/x", "https://[2001:db8::1]:8443/moved"},
		{"{path}", "a.test", `/\evil.test`, "/%5Cevil.test"},
		{"/new{path}", "a.test", "/x", "/new/x"},
		{"/login?from={path}", "a.test", `/"<x>`, "/login?from=/%22%3Cx%3E"},
		{"http://other.test/", "a.test", "/x", "http://other.test/"},
	} {
		r, err := ParseRedirect(row.template)
		if got := r.To(row.host, row.path); err != nil || got != row.want {
			t.Errorf("%q of %s%s: %q, %v; want %q", row.template, row.host, row.path, got, err, row.want)
		}
	}
}

func TestParseRedirectErrors(t *testing.T) {
	for _, row := range []struct{ template, want string }{
		{"www.example.jp", `redirect "www.example.jp": write where to with http:// or https://, as "https://www.example.jp{path}", or a path of this site`},
		{"//www.example.jp", `redirect "//www.example.jp": write where to with http:// or https://, as "https://www.example.jp{path}", or a path of this site`},
		{"javascript:alert(1)", `redirect "javascript:alert(1)": write where to with http:// or https://, as "https://www.example.jp{path}", or a path of this site`},
		{"/{path}", `redirect "/{path}": {path} begins with a slash itself; leave out the one before it`},
		{"https://{host}.example.jp/", `redirect "https://{host}.example.jp/": {host} is a part of a name, which leads to other hosts; write it alone behind //`},
		{"https://{name}/", `redirect "https://{name}/": what stands in braces is {host} or {path}`},
		{"https://{host/", `redirect "https://{host/": what stands in braces is {host} or {path}`},
		{"https://a.test/ x", `redirect "https://a.test/ x": " " cannot stand in a URL; write it percent-encoded`},
		{"https://a.test/\r\nX: y", `redirect "https://a.test/\r\nX: y": "\r" cannot stand in a URL; write it percent-encoded`},
		{"https://bücher.example/", `redirect "https://bücher.example/": "\xc3" cannot stand in a URL; write it percent-encoded`},
		{"https://u@a.test/", `redirect "https://u@a.test/": write where to with http:// or https://, as "https://www.example.jp{path}", or a path of this site`},
	} {
		if _, err := ParseRedirect(row.template); errText(err) != row.want {
			t.Errorf("%q: %v\nwant %s", row.template, err, row.want)
		}
	}
}

// FuzzRedirect holds that no path leads to another host than the template's.
func FuzzRedirect(f *testing.F) {
	f.Add("//evil.test")
	f.Add(`/\evil.test`)
	f.Add("/@evil.test")
	f.Fuzz(func(t *testing.T, target string) {
		if target == "" || target[0] != '/' {
			return
		}
		for i := range len(target) {
			if c := target[i]; c <= 0x20 || c >= 0x7f || c == '#' {
				return
			}
		}
		path, query, err := CleanTarget(target)
		if err != nil {
			return
		}
		for _, template := range []string{"{path}", "https://a.test{path}", "https://{host}{path}"} {
			r, err := ParseRedirect(template)
			if err != nil {
				t.Fatal(err)
			}
			base := &url.URL{Scheme: "https", Host: "a.test"}
			u, err := base.Parse(r.To("a.test", path+query))
			if err == nil && u.Host != "a.test" {
				t.Fatalf("%q by %q leads to %q", target, template, u.Host)
			}
		}
	})
}
