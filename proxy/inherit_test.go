package proxy

import (
	"net"
	"os"
	"strings"
	"testing"
)

// A socket that Genkan could not serve rightly is refused, and the error says
// what to write.
func TestInheritRefuses(t *testing.T) {
	var multipath, plain net.ListenConfig
	multipath.SetMultipathTCP(true)
	plain.SetMultipathTCP(false)
	for _, row := range []struct {
		name string
		open func() (filer, error)
		want string
	}{
		{"multipath", func() (filer, error) {
			ln, err := multipath.Listen(t.Context(), "tcp4", "127.0.0.1:0")
			return ln.(*net.TCPListener), err
		}, "not plain TCP; leave SocketProtocol= out of the socket unit"},
		{"dual-stack-udp", func() (filer, error) {
			pc, err := plain.ListenPacket(t.Context(), "udp", ":0")
			return pc.(*net.UDPConn), err
		}, "UDP for IPv4 and IPv6 at once; write BindIPv6Only=ipv6-only into the socket unit, and a ListenDatagram=0.0.0.0:PORT for IPv4"},
		{"unix", func() (filer, error) {
			ln, err := plain.Listen(t.Context(), "unix", t.TempDir()+"/s")
			return ln.(*net.UnixListener), err
		}, "neither IPv4 nor IPv6; Genkan listens on TCP and UDP only"},
	} {
		t.Run(row.name, func(t *testing.T) {
			socket, err := row.open()
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			f, err := socket.File()
			if err != nil {
				t.Fatal(err)
			}
			err = new(Server).Inherit([]*os.File{f})
			if err == nil || !strings.HasSuffix(err.Error(), ": "+row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

// A filer is a listening socket of net.
type filer interface {
	File() (*os.File, error)
	Close() error
}
