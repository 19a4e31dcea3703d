package certs_test

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"genkan/proxy/certs"
	"genkan/proxy/certs/certstest"
)

// stored reads the files of a name in dir, by the ends of their names, and
// gives the folder of the CA's below it.
func stored(t *testing.T, dir, name string) (folder string, all map[string][]byte) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "certificates", "*", name))
	if err != nil || len(found) != 1 {
		t.Fatalf("folders of %s: %q, %v", name, found, err)
	}
	all = map[string][]byte{}
	for _, end := range []string{".key", ".key.former", ".crt", ".json"} {
		text, err := os.ReadFile(filepath.Join(found[0], name+end))
		if err == nil {
			all[end] = text
		}
	}
	folder, err = filepath.Rel(dir, found[0])
	if err != nil {
		t.Fatal(err)
	}
	return folder, all
}

// A renewal writes key, certificate and metadata. After a crash between two of
// them there is a certificate at once, even while the CA is down, and nothing is
// ordered that is there.
func TestCrashAmidSaving(t *testing.T) {
	t.Parallel()
	c := startCAAs(t, certstest.Pebble{Validity: 24 * time.Hour})
	f := c.startFront(t)
	// A name of this run: certmagic remembers by name that the CA was down.
	name := fmt.Sprintf("a.crash%d.example.jp", netip.MustParseAddrPort(c.tls.Addr().String()).Port())
	c.dns.Set(name, netip.IPv6Loopback())
	c.set(func() { c.ari = window(time.Hour) })
	s := c.settings(t.TempDir())
	m := f.manage(t, s, certs.Subject{Name: name})
	first := c.waitFor(t, name).SerialNumber.String()
	slow := make(chan struct{})
	c.set(func() { c.ari, c.slow = window(-time.Hour), slow })
	waitUntil(t, "an order of a renewal", func() error {
		if n := len(c.ordered()); n != 2 {
			return fmt.Errorf("%d orders", n)
		}
		return nil
	})
	folder, amid := stored(t, s.Dir, name)
	c.set(func() { c.ari = window(time.Hour) })
	close(slow)
	second := first
	waitUntil(t, "renewal", func() error {
		if second = c.waitFor(t, name).SerialNumber.String(); second == first {
			return fmt.Errorf("still the first")
		}
		return nil
	})
	m.Close()
	_, after := stored(t, s.Dir, name)
	if _, left := after[".key.former"]; left {
		t.Error("the key of the former certificate is left")
	}
	for _, row := range []struct {
		name string
		with map[string][]byte // over what the order had; nil: none
		down bool              // the CA
		want string
	}{
		{"nothing-written", nil, true, first},
		{"key", map[string][]byte{".key": after[".key"]}, true, first},
		{"key-certificate", map[string][]byte{".key": after[".key"], ".crt": after[".crt"]}, false, second},
		{"key-certificate-of-the-first-order", map[string][]byte{".key": after[".key"], ".crt": after[".crt"], ".json": nil, ".key.former": nil}, false, second},
		{"all", map[string][]byte{".key": after[".key"], ".crt": after[".crt"], ".json": after[".json"]}, false, second},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := s
			s.Dir = t.TempDir()
			if err := os.MkdirAll(filepath.Join(s.Dir, folder), 0o700); err != nil {
				t.Fatal(err)
			}
			left := maps.Clone(amid)
			maps.Copy(left, row.with)
			for end, text := range left {
				if text != nil {
					mustWrite(t, filepath.Join(s.Dir, folder, name+end), text)
				}
			}
			before := len(c.ordered())
			c.set(func() { c.down = row.down })
			m := f.manage(t, s, certs.Subject{Name: name})
			defer m.Close()
			if now := c.waitFor(t, name).SerialNumber.String(); now != row.want {
				t.Errorf("shows %s, want %s; the first was %s", now, row.want, first)
			}
			if row.down {
				return
			}
			// Another name's certificate comes after what there was to order.
			next := row.name + ".crash.example.jp"
			c.dns.Set(next, netip.IPv6Loopback())
			if err := m.Apply(s, []certs.Subject{{Name: name}, {Name: next}}); err != nil {
				t.Fatal(err)
			}
			c.waitFor(t, next)
			if n := len(c.ordered()) - before; n != 1 {
				t.Errorf("%d orders, want one, for %s", n, next)
			}
		})
	}
}
