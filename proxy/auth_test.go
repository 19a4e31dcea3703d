package proxy

import (
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"genkan/acl"
	"genkan/proxy/accesslog"
	"genkan/proxy/htpasswd"
)

func mustUsers(t *testing.T, names ...string) *htpasswd.Users {
	t.Helper()
	src := ""
	for _, name := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte(name+"'s"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		src += name + ":" + string(hash) + "\n"
	}
	u, err := htpasswd.Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func basic(text string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(text))
}

// Nobody comes in without a password, whatever Authorization says; the rules
// stand before, and a route has users of its own.
func TestSiteBasicAuth(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	s := start(t, Config{Sites: []Site{{
		Name: "a.test", Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, startWeb(t, "b")), Access: acl.AllowAll(),
		Handling:  Handling{Auth: &Auth{Realm: "Staff", Users: mustUsers(t, "joe", "ann")}},
		AccessLog: accesslog.Spec{To: path, Format: accesslog.JSON},
		Routes: []Route{
			{Path: "/own", Handling: Handling{Auth: &Auth{Realm: "Own", Users: mustUsers(t, "eve")}}},
			{Path: "/nobody", Handling: Handling{Auth: &Auth{Realm: "None"}}},
			{Path: "/denied", Access: mustRules(t, "deny all")},
			{Path: "/inherits"},
		},
	}}})
	addr := s.at(t, "127.0.0.1")
	for _, row := range []struct {
		path   string
		fields []string
		status int
		realm  string
	}{
		{"/", nil, 401, "Staff"},
		{"/", []string{basic("joe:joe's")}, 200, ""},
		{"/", []string{basic("joe:joe's")}, 200, ""}, // remembered
		{"/", []string{strings.Replace(basic("ann:ann's"), "Basic ", "basic  ", 1)}, 200, ""},
		{"/", []string{basic("joe:ann's")}, 401, "Staff"},
		{"/", []string{basic("nobody:joe's")}, 401, "Staff"},
		{"/", []string{basic("joe")}, 401, "Staff"},
		{"/", []string{basic(":")}, 401, "Staff"},
		{"/", []string{basic("joe:joe's"), basic("joe:joe's")}, 401, "Staff"},
		{"/", []string{"Authorization: Basic !"}, 401, "Staff"},
		{"/", []string{"Authorization: Bearer x"}, 401, "Staff"},
		{"/inherits", nil, 401, "Staff"},
		{"/inherits", []string{basic("ann:ann's")}, 200, ""},
		{"/own", []string{basic("joe:joe's")}, 401, "Own"},
		{"/own", []string{basic("eve:eve's")}, 200, ""},
		{"/nobody", []string{basic("joe:joe's")}, 401, "None"},
		{"/denied", []string{basic("joe:joe's")}, 403, ""},
	} {
		resp, body := get(t, addr, row.path, row.fields...)
		want := ""
		if row.realm != "" {
			want = `Basic realm="` + row.realm + `", charset="UTF-8"`
		}
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != row.status || got != want {
			t.Errorf("%s %q: %d %q %s, want %d %q", row.path, row.fields, resp.StatusCode, got, body, row.status, want)
		}
	}
	lines := logged(t, path, 3)
	if lines[0]["user"] != nil || lines[1]["user"] != "joe" {
		t.Errorf("the log's users: %v, %v", lines[0]["user"], lines[1]["user"])
	}
}

// All versions of HTTP ask for the password, and many at once are all answered.
func TestSiteBasicAuthOnAllFronts(t *testing.T) {
	_, clients, _ := startFronts(t, startWeb(t, "b"), func(c *Config) { c.Sites[0].Auth = &Auth{Realm: "Staff", Users: mustUsers(t, "joe")} })
	for _, c := range clients {
		if resp := c.ask(t, "GET", "/", nil, nil, nil); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", c.version, resp.StatusCode)
		}
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				password, want := "joe's", 200
				if i%2 == 1 {
					password, want = "wrong", 401
				}
				header := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("joe:"+password))}}
				// A busy machine may turn a wrong one away: never in.
				if resp := c.ask(t, "GET", "/", nil, header, nil); resp.StatusCode != want && resp.StatusCode != 503 {
					t.Errorf("%s: %s: %d", c.version, password, resp.StatusCode)
				}
			})
		}
		wg.Wait()
	}
}
