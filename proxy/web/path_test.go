package web

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestCleanTarget(t *testing.T) {
	for _, row := range []struct{ target, path, query, err string }{
		{"/", "/", "", ""},
		{"/a/b?x=/../y", "/a/b", "?x=/../y", ""},
		{"//a", "/a", "", ""},
		{"///a//b//", "/a/b/", "", ""},
		{"/%61dmin", "/admin", "", ""},
		{"/a%2fb%3d", "/a%2Fb%3D", "", ""},
		{"/x/../admin", "/admin", "", ""},
		{"/x/%2e%2E/admin", "/admin", "", ""},
		{"/x/./admin/.", "/x/admin/", "", ""},
		{"/x/..", "/", "", ""},
		{"/x/y/..", "/x/", "", ""},
		{"/.hidden/..x", "/.hidden/..x", "", ""},
		{"/a/..;/b", "/a/..;/b", "", ""},
		{"/?", "/", "?", ""},
		{"/..", "", "", "path climbs above the root"},
		{"/a/../../b", "", "", "path climbs above the root"},
		{"/a%00b", "", "", "path has an escaped NUL"},
	} {
		p, q, err := CleanTarget(row.target)
		if p != row.path || q != row.query || errText(err) != row.err {
			t.Errorf("CleanTarget(%q) = %q, %q, %v; want %q, %q, %s", row.target, p, q, err, row.path, row.query, row.err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// What a path means, and that no spelling of /admin means anything else: it is
// found or refused ("400").
func TestRoutes(t *testing.T) {
	var r Routes[string]
	for _, p := range []string{"/admin", "/public/", "/admin/open", "/caf%C3%A9"} {
		if err := r.Add(p, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ target, want string }{
		{"/", ""}, {"/index", ""}, {"/administrator", ""}, {"/Admin", ""},
		{"/admin", "/admin"}, {"/admin/", "/admin"}, {"/admin/x/y", "/admin"}, {"/admin?x", "/admin"},
		{"/admin/open", "/admin/open"}, {"/admin/open/x", "/admin/open"}, {"/admin/opener", "/admin"},
		{"/public", "/public/"}, {"/public/x", "/public/"},
		{"/caf%c3%a9/x", "/caf%C3%A9"},
		{"//admin", "/admin"}, {"/./admin", "/admin"}, {"/%61dmin", "/admin"}, {"/public/../admin", "/admin"},
		{"/public/%2e%2e/admin", "/admin"}, {"/public//../admin", "/admin"},
		{"/admin%2Fx", "400"}, {"/%2Fadmin", "400"}, {"/public/..%2Fadmin", "400"}, {"/public%2F..%2Fadmin", "400"},
		{`/\admin`, "400"}, {"/%5cadmin", "400"}, {"/admin%5c..%5cpublic", "400"},
		{"/public/..;/admin", "400"}, {"/public/..;x=1/admin", "400"}, {"/admin;x/y", "400"}, {"/;x/admin", "400"},
		{"/public/%252e%252e/admin", "400"}, {"/%2561dmin", "400"}, {"/%252fadmin", "400"}, {"/admin%3fx", "400"}, {"/admin%23x", "400"},
		{"/x/../../admin", "400"}, {"/admin%00", "400"},
		// Nothing to fear: any reading is of the same route.
		{"/api/group%2Fproject", ""}, {"/admin/a%2Fb", "/admin"}, {"/x;v=1/y", ""}, {"/admin/x;v=1", "/admin"}, {"/100%25", ""}, {`/a\b`, ""},
	} {
		got := "400"
		if p, _, err := CleanTarget(row.target); err == nil {
			if found, err := r.Route(p); err == nil {
				got = found
			}
		}
		if got != row.want {
			t.Errorf("%s leads to %q, want %q", row.target, got, row.want)
		}
	}
}

func TestRoutesAddErrors(t *testing.T) {
	var r Routes[int]
	if err := r.Add("/a", 1); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ path, want string }{
		{"", `path "" does not begin with "/"`},
		{"a", `path "a" does not begin with "/"`},
		{"/a/", `path "/a/" is given twice`},
		{"/x/../b", `path "/x/../b" is not in its shortest form; write "/b"`},
		{"/%62", `path "/%62" is not in its shortest form; write "/b"`},
		{"/b?x", `path "/b?x": "?" cannot stand in a path; write it percent-encoded`},
		{"/b%2Fc", `path "/b%2Fc": servers read slashes in escapes, "\" and ";" in different ways; leave them out`},
	} {
		if err := r.Add(row.path, 2); errText(err) != row.want {
			t.Errorf("Add(%q): %v, want %s", row.path, err, row.want)
		}
	}
}

func TestStrip(t *testing.T) {
	for _, row := range []struct{ path, prefix, want string }{
		{"/app", "/app", "/"}, {"/app/", "/app", "/"}, {"/app/x", "/app", "/x"}, {"/app/x", "/app/", "/x"}, {"/x", "/", "/x"},
	} {
		if got := Strip(row.path, row.prefix); got != row.want {
			t.Errorf("Strip(%q, %q) = %q, want %q", row.path, row.prefix, got, row.want)
		}
	}
}

// FuzzRoutes holds that a clean path is clean, and that whatever a server makes
// of it by decoding it once and resolving its dots is of the same route.
func FuzzRoutes(f *testing.F) {
	for _, s := range []string{"/admin", "//admin/..", "/%2e%2e/admin", "/a%2fadmin", "/x;/admin", "/public/%252e%252e/admin", `/\admin`, "/%c0%af"} {
		f.Add(s)
	}
	var r Routes[string]
	for _, p := range []string{"/admin", "/public", "/public/admin"} {
		if err := r.Add(p, p); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, target string) {
		if target == "" || target[0] != '/' || strings.ContainsAny(target, "#\x00") {
			return
		}
		p, q, err := CleanTarget(target)
		if err != nil {
			return
		}
		if again, none, err := CleanTarget(p); again != p || none != "" || err != nil {
			t.Fatalf("%q is clean as %q, which is clean as %q, %q, %v", target, p, again, none, err)
		}
		if raw, _, _ := strings.Cut(target, "?"); !strings.HasPrefix(target[len(raw):], q) || len(q) != len(target)-len(raw) {
			t.Fatalf("%q: query %q", target, q)
		}
		found, err := r.Route(p)
		if err != nil {
			return
		}
		// The slow oracle: package path and package net/url.
		decoded, err := url.PathUnescape(p)
		if err != nil {
			return
		}
		if got := r.Find(path.Clean(decoded)); got != found {
			t.Fatalf("%q is of route %q, and decoded (%q) of %q", p, found, decoded, got)
		}
	})
}
