package proxy

import (
	"testing"
)

// What is read is written in a spelling that reads the same.
func FuzzParseListen(f *testing.F) {
	for _, text := range []string{"tunnel:80", "udp/tunnel:53", ":0", "[2001:db8::1]:443", "[fe80::1%eth0]:80", "192.0.2.1:5000-5009", "tcp/*:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseListen(text)
		if err != nil {
			return
		}
		if again, err := ParseListen(l.String()); err != nil || again != l {
			t.Errorf("%q is %q, which reads %v, %v", text, l, again, err)
		}
		if l.PortEnd < l.Port || l.PortEnd-l.Port >= maxRange || l.Tunnel && l.Addr.IsValid() || l.Addr.Netip().IsMulticast() {
			t.Errorf("%q reads %+v", text, l)
		}
	})
}

func FuzzParseBackend(f *testing.F) {
	for _, text := range []string{"10.0.0.1:80", "app.internal:80", "10.0.0.1:5000-5009", "[::ffff:10.0.0.1]:80", "[::1]:80", "0x7f.1:80"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBackend(text)
		if err != nil {
			return
		}
		if again, err := ParseBackend(b.String()); err != nil || again != b {
			t.Errorf("%q is %q, which reads %v, %v", text, b, again, err)
		}
		if b.Port == 0 || b.Addr.Is6() || b.Addr.IsValid() == (b.Name != "") {
			t.Errorf("%q reads %+v", text, b)
		}
	})
}
