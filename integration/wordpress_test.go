package integration

import (
	"fmt"
	"net/netip"
	"testing"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// WordPress, as Debian has it, keeps each commenter's address and takes no two
// comments of one within 15 seconds. Behind a front that shows its own address
// it shuts out one client for what another did; with mod_remoteip or the pool
// each has an address, and each may comment.
func TestWordPressKnowsItsCommenters(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	blog := servers.StartWordPress(t, w.Lab)
	w.front(t, webappConfig)
	ask := func(i int, site, path string, form ...string) int {
		t.Helper()
		c := clients[i]
		args := []string{"--interface", c.addr, "--connect-to", site + ":80:" + c.to + ":80", "http://" + site + path}
		for _, field := range form {
			args = append(args, "--data-urlencode", field)
		}
		status, _ := curl(t, w.client(c.addr), args...)
		return status
	}
	if status := ask(0, "own.test", "/wp-admin/install.php?step=2", "weblog_title=Genkan", "user_name=host", "admin_password=take off your shoes",
		"admin_password2=take off your shoes", "pw_weak=1", "admin_email=host@example.jp", "blog_public=0", "language="); status != 200 {
		t.Fatalf("WordPress is not installed: %d\n%s", status, blog.Log())
	}
	guests := 0
	comment := func(i int, site string) (status int, addr string) {
		t.Helper()
		guests++
		author := fmt.Sprintf("guest%d", guests)
		status = ask(i, site, "/wp-comments-post.php", "comment=visit of "+author, "author="+author, "email="+author+"@example.jp", "comment_post_ID=1")
		return status, blog.CommentAddr(t, author)
	}
	const accepted, tooSoon = 302, 429
	seen := map[string]bool{}
	for _, row := range []struct {
		site   string
		client int
		pooled bool
	}{
		{"xff.test", 0, false},
		{"xff.test", 1, false},
		{"xff.test", 2, false},
		{"pseudo.test", 0, true},
		{"pseudo.test", 2, true},
	} {
		c := clients[row.client]
		status, addr := comment(row.client, row.site)
		a, err := netip.ParseAddr(addr)
		right := addr == c.addr
		if row.pooled {
			right = err == nil && netip.MustParsePrefix("100.64.0.0/16").Contains(a)
		}
		if status != accepted || !right || seen[addr] {
			t.Errorf("%s, %s: %d, kept as %q", row.site, c.name, status, addr)
		}
		seen[addr] = true
	}
	waitUntil(t, patience, "a comment that comes too soon", func() error {
		if status, addr := comment(0, "own.test"); status != accepted && status != tooSoon || status == accepted && addr != lab.InsideV4.String() {
			t.Errorf("own.test, %s: %d, kept as %q", clients[0].name, status, addr)
		}
		if status, _ := comment(1, "own.test"); status != tooSoon {
			return fmt.Errorf("the second client got %d", status)
		}
		return nil
	})
}
