package proxy

import (
	"net/netip"
	"testing"

	"genkan/acl"
	"genkan/proxy/ftp"
)

// What of an FTP forward could not serve data is refused at the start.
func TestFTPFaults(t *testing.T) {
	for _, row := range []struct {
		name    string
		forward Forward
		by      TransparentBy
		behind  []Forward // configured after it
		want    string
	}{
		{"udp", Forward{Listen: mustListen(t, "udp/[::1]:21")}, 0, nil, `forward "x": listen "udp/[::1]:21": protocol "ftp" takes one TCP port`},
		{"many-ports", Forward{Listen: mustListen(t, "[::1]:21-22"), To: mustBackend(t, "127.0.0.1:21-22")}, 0, nil, `forward "x": listen "[::1]:21-22": protocol "ftp" takes one TCP port`},
		{"ports-of-another", Forward{Listen: mustListen(t, "[::1]:21"), Passive: ftp.Ports{First: 50100, Last: 50110}}, 0, nil,
			`forward "x": passive ports "[::1]:50100-50110" are taken by another service; write "passive" with other ports`},
		{"transparent-by-port", Forward{Listen: mustListen(t, "[::1]:21"), Source: SourceTransparent}, TransparentByPort, nil,
			`forward "x": source "transparent": data of FTP comes from any port; write transparent_by = "socket"`},
		{"ports-of-a-later-one", Forward{Listen: mustListen(t, "[::1]:21"), Passive: ftp.Ports{First: 50000, Last: 50009}}, 0,
			[]Forward{{Name: "y", Listen: mustListen(t, "[::1]:50001"), To: mustBackend(t, "127.0.0.1:1"), Access: acl.AllowAll()}},
			`forward "y": listen "[::1]:50001": passive ports of forward "x" are there; write another port, or "passive" with other ports`},
		{"ports-of-later-names", Forward{Listen: mustListen(t, "[::1]:21"), Passive: ftp.Ports{First: 50000, Last: 50009}}, 0,
			[]Forward{{Name: "y", Listen: mustListen(t, "[::1]:50001"), To: mustBackend(t, "127.0.0.1:1"), Access: acl.AllowAll(), SNI: []string{"a.test"}}},
			`forward "y": listen "[::1]:50001": passive ports of forward "x" are there; write another port, or "passive" with other ports`},
		{"ports-of-its-own", Forward{Listen: mustListen(t, "[::1]:21"), Passive: ftp.Ports{First: 20, Last: 29}}, 0, nil,
			`forward "x": listen "[::1]:21": passive ports of forward "x" are there; write another port, or "passive" with other ports`},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := row.forward
			f.Name, f.Access, f.Protocol = "x", acl.AllowAll(), "ftp"
			if f.To == nil {
				f.To = mustBackend(t, "127.0.0.1:21")
			}
			other := Forward{Name: "other", Listen: mustListen(t, "[::1]:50105"), To: mustBackend(t, "127.0.0.1:1"), Access: acl.AllowAll()}
			if _, err := New(Config{Forwards: append([]Forward{other, f}, row.behind...), TransparentBy: row.by}); err == nil || err.Error() != row.want {
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}

// A load balancer in front of FTP announces the clients of the data, too.
func TestFTPAcceptProxy(t *testing.T) {
	listen := mustListen(t, "[::1]:21", "127.0.0.1:21")
	s, err := New(Config{
		Forwards: []Forward{{
			Name: "x", Listen: listen, To: mustBackend(t, "10.0.0.1:21"), Access: acl.AllowAll(),
			Protocol: "ftp", Passive: ftp.Ports{First: 50000, Last: 50001},
		}},
		Listeners: []Listener{{Listen: listen[0], AcceptProxy: []acl.Prefix{mustPrefix(t, "2001:db8:9::/64")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := netip.MustParseAddr("2001:db8:9::1")
	for at, want := range map[string]bool{"[::1]:21": true, "[::1]:50000": true, "[::1]:50001": true, "127.0.0.1:21": false, "127.0.0.1:50000": false} {
		if got := s.state.Load().services[endpoint{"tcp", netip.MustParseAddrPort(at)}].announcedBy(peer); got != want {
			t.Errorf("%s: announced by %s: %v, want %v", at, peer, got, want)
		}
	}
}
