package integration

import (
	"net"
	"strings"
	"testing"

	"genkan/integration/lab"
)

// A port that somebody has is an error that names it and its holder, and
// nothing of the rest stays up.
func TestPortInUse(t *testing.T) {
	w := mustWorld(t)
	var l net.Listener
	err := w.Front.Do(func() (err error) {
		l, err = net.Listen("tcp4", lab.FrontV4.String()+":80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := mustSnapshot(t, w.Front)
	p := w.genkan(t, w.Front, siteConfig)
	checkRefuses(t, p, lab.FrontV4.String()+":80", "in use")
	checkUntouched(t, w.Front, before, "after a refused start")
}

// checkRefuses wants the program to end by itself, with an error that has all words.
func checkRefuses(t *testing.T, p *lab.Daemon, words ...string) {
	t.Helper()
	select {
	case <-p.Done():
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if p.Err() == nil {
		t.Errorf("exit status 0; it wrote:\n%s", p.Output())
	}
	mustLog(t, p, words...)
}

// A broken configuration never starts half: not even its right parts.
func TestBrokenConfigNeverStarts(t *testing.T) {
	w := mustWorld(t)
	before := mustSnapshot(t, w.Front)
	for _, row := range []struct{ name, config, want string }{
		{"syntax", siteConfig + "[forward.x\n", "front.toml:9:1: this header is not closed"},
		{"rule", strings.Replace(siteConfig, "allow all", "allow 10.1.2.3/8", 1), `10.0.0.0/8`},
		{"unknown-key", siteConfig + "acess = []\n", "access"},
		{"ipv6-backend", strings.Replace(siteConfig, lab.BackendV4.String()+":80", "[2001:db8::1]:80", 1), "IPv4 only"},
	} {
		t.Run(row.name, func(t *testing.T) {
			checkRefuses(t, w.genkan(t, w.Front, row.config), "front.toml:", row.want)
			checkUntouched(t, w.Front, before, "after a broken configuration")
		})
	}
}
