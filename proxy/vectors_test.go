package proxy

import (
	"testing"

	"genkan/acl"
	"genkan/proxy/internal/webtest"
)

// TestSiteSmuggling sends the smuggling vectors to a whole Server.
func TestSiteSmuggling(t *testing.T) {
	webtest.CheckSmuggling(t, "http1/testdata/smuggling", func(t *testing.T, backend string) string {
		s := start(t, Config{Sites: []Site{{
			Name: "a.test", Hosts: []string{"default"}, Listen: mustListen(t, "127.0.0.1:0"), To: mustBackend(t, backend),
			Access: acl.AllowAll(), Announce: []string{"x-forwarded-for", "x-real-ip"},
		}}})
		return s.at(t, "127.0.0.1")
	})
}
