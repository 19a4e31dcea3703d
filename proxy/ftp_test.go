package proxy

import (
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
		want    string
	}{
		{"udp", Forward{Listen: mustListen(t, "udp/[::1]:21")}, 0, `forward "x": listen "udp/[::1]:21": protocol "ftp" takes one TCP port`},
		{"many-ports", Forward{Listen: mustListen(t, "[::1]:21-22"), To: mustBackend(t, "127.0.0.1:21-22")}, 0, `forward "x": listen "[::1]:21-22": protocol "ftp" takes one TCP port`},
		{"ports-of-another", Forward{Listen: mustListen(t, "[::1]:21"), Passive: ftp.Ports{First: 50100, Last: 50110}}, 0,
			`forward "x": passive ports "[::1]:50100-50110" are taken by another service; write "passive" with other ports`},
		{"transparent-by-port", Forward{Listen: mustListen(t, "[::1]:21"), Source: SourceTransparent}, TransparentByPort,
			`forward "x": source "transparent": data of FTP comes from any port; write transparent_by = "socket"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := row.forward
			f.Name, f.Access, f.Protocol = "x", acl.AllowAll(), "ftp"
			if f.To == nil {
				f.To = mustBackend(t, "127.0.0.1:21")
			}
			other := Forward{Name: "other", Listen: mustListen(t, "[::1]:50105"), To: mustBackend(t, "127.0.0.1:1"), Access: acl.AllowAll()}
			if _, err := New(Config{Forwards: []Forward{other, f}, TransparentBy: row.by}); err == nil || err.Error() != row.want {
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}
