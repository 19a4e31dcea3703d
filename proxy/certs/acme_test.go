package certs_test

import (
	"encoding/pem"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"genkan/proxy/certs"
	"genkan/proxy/certs/certstest"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Each challenge by itself gets a certificate, over IPv6 only; two names at
// once; and a restart orders none anew.
func TestOrders(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	dir := t.TempDir()
	for _, row := range []struct {
		name      string
		http, tls bool
	}{{"http-01", true, false}, {"tls-alpn-01", false, true}} {
		t.Run(row.name, func(t *testing.T) {
			s := c.settings(dir)
			s.HTTP, s.TLS = row.http, row.tls
			name := row.name + ".example.jp"
			c.dns.Set(name, netip.IPv6Loopback())
			f.manage(t, s, certs.Subject{Name: name})
			c.waitFor(t, name)
		})
	}
	before := len(c.ordered())
	subjects := []certs.Subject{{Name: "a.example.jp"}, {Name: "b.example.jp"}}
	for _, one := range subjects {
		c.dns.Set(one.Name, netip.IPv6Loopback())
	}
	m := f.manage(t, c.settings(dir), subjects...)
	first := [2]string{c.waitFor(t, "a.example.jp").SerialNumber.String(), c.waitFor(t, "b.example.jp").SerialNumber.String()}
	if n := len(c.ordered()) - before; n != 2 {
		t.Errorf("%d orders for two names", n)
	}
	m.Close()
	f.manage(t, c.settings(dir), subjects...)
	again := [2]string{c.waitFor(t, "a.example.jp").SerialNumber.String(), c.waitFor(t, "b.example.jp").SerialNumber.String()}
	if n := len(c.ordered()) - before; n != 2 || again != first {
		t.Errorf("after a restart: %d orders, certificates %v, before %v", n, again, first)
	}
}

// A reload keeps what stays, drops what goes and orders what comes.
func TestApply(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	for _, name := range []string{"a.apply.example.jp", "b.apply.example.jp", "c.apply.example.jp"} {
		c.dns.Set(name, netip.IPv6Loopback())
	}
	s := c.settings(t.TempDir())
	m := f.manage(t, s, certs.Subject{Name: "a.apply.example.jp"}, certs.Subject{Name: "b.apply.example.jp"})
	serial := c.waitFor(t, "a.apply.example.jp").SerialNumber
	c.waitFor(t, "b.apply.example.jp")
	if err := m.Apply(s, []certs.Subject{{Name: "a.apply.example.jp"}, {Name: "c.apply.example.jp"}}); err != nil {
		t.Fatal(err)
	}
	c.waitFor(t, "c.apply.example.jp")
	if now := c.waitFor(t, "a.apply.example.jp").SerialNumber; now.Cmp(serial) != 0 {
		t.Error("a reload has ordered what was there")
	}
	if _, err := c.show(t, "b.apply.example.jp"); err == nil {
		t.Error("what nobody wants any more is shown")
	}
	if n := len(c.ordered()); n != 3 {
		t.Errorf("%d orders for three names", n)
	}
	// Other settings leave the certificates that there are in use.
	s.Email = "hostmaster@example.jp"
	if err := m.Apply(s, []certs.Subject{{Name: "a.apply.example.jp"}}); err != nil {
		t.Fatal(err)
	}
	if now := c.waitFor(t, "a.apply.example.jp").SerialNumber; now.Cmp(serial) != 0 {
		t.Error("other settings have ordered what was there")
	}
}

// What is about to end is renewed, without a client seeing an error; while the
// CA is down the old one serves.
func TestRenewal(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	c.dns.Set("a.renewal.example.jp", netip.IPv6Loopback())
	s := c.settings(t.TempDir())
	s.Profile = "brief" // six seconds
	m := f.manage(t, s, certs.Subject{Name: "a.renewal.example.jp"})
	first := c.waitFor(t, "a.renewal.example.jp")
	if left := first.NotAfter.Sub(first.NotBefore); left > 10*time.Second {
		t.Errorf("the profile was not asked for: valid for %s", left)
	}
	waitUntil(t, "renewal", func() error {
		cert, err := c.show(t, "a.renewal.example.jp")
		switch {
		case err != nil:
			t.Error(err)
		case cert.SerialNumber.Cmp(first.SerialNumber) == 0:
			return fmt.Errorf("still the first, until %s", cert.NotAfter)
		}
		return nil
	})
	all := m.Status()
	if len(all) != 1 || all[0].Name != "a.renewal.example.jp" || all[0].Source != "acme" || all[0].Error != "" || !all[0].NotAfter.After(first.NotAfter) ||
		!strings.HasPrefix(all[0].Issuer, "Pebble Intermediate CA") {
		t.Errorf("status: %+v", all)
	}
	c.set(func() { c.down = true })
	second, err := c.show(t, "a.renewal.example.jp")
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "failed renewal", func() error {
		if all := m.Status(); all[0].Error == "" {
			return fmt.Errorf("no error in %+v", all)
		}
		return nil
	})
	if cert, err := c.show(t, "a.renewal.example.jp"); err != nil || cert.SerialNumber.Cmp(second.SerialNumber) != 0 {
		t.Errorf("while the CA is down: %v, %v", cert, err)
	}
}

// window is a CA's wish to renew in ten seconds that begin in a while.
func window(in time.Duration) string {
	at := time.Now().Add(in).UTC()
	return fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, at.Format(time.RFC3339), at.Add(10*time.Second).Format(time.RFC3339))
}

// The CA says when to renew (RFC 9773), and is told what is replaced.
func TestARI(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	c.dns.Set("a.ari.example.jp", netip.IPv6Loopback())
	c.set(func() { c.ari = window(time.Hour) })
	f.manage(t, c.settings(t.TempDir()), certs.Subject{Name: "a.ari.example.jp"})
	first := c.waitFor(t, "a.ari.example.jp")
	c.set(func() { c.ari = window(-time.Hour) }) // it is to be revoked, say
	waitUntil(t, "renewal", func() error {
		cert, err := c.show(t, "a.ari.example.jp")
		if err == nil && cert.SerialNumber.Cmp(first.SerialNumber) == 0 {
			err = fmt.Errorf("still the first")
		}
		return err
	})
	c.set(func() { c.ari = window(time.Hour) })
	orders := c.ordered()
	if len(orders) < 2 || strings.Contains(orders[0], "replaces") || !strings.Contains(orders[1], `"replaces"`) {
		t.Errorf("orders: %q", orders)
	}
}

// A CA that is down at the start is asked again until it is back.
func TestCADown(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	c.dns.Set("a.down.example.jp", netip.IPv6Loopback())
	c.set(func() { c.down = true })
	m := f.manage(t, c.settings(t.TempDir()), certs.Subject{Name: "a.down.example.jp"})
	waitUntil(t, "failures", func() error {
		if all := m.Status(); len(all) != 1 || all[0].Tries < 2 || all[0].Error == "" || all[0].Next.IsZero() {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	if _, err := c.show(t, "b.down.example.jp"); err == nil {
		t.Error("a name that is not ours gets a certificate")
	}
	c.set(func() { c.down = false })
	c.waitFor(t, "a.down.example.jp")
}

// A CA that gives accounts to those it knows.
func TestAccountBinding(t *testing.T) {
	t.Parallel()
	eab := [2]string{"kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
	c := startCAAs(t, certstest.Pebble{EAB: eab})
	f := c.startFront(t)
	c.dns.Set("a.eab.example.jp", netip.IPv6Loopback())
	s := c.settings(t.TempDir())
	m := f.manage(t, s, certs.Subject{Name: "a.eab.example.jp"})
	waitUntil(t, "refusal", func() error {
		if all := m.Status(); len(all) != 1 || !strings.Contains(all[0].Error, "externalAccountRequired") {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	s.EABID, s.EABKey = eab[0], eab[1]
	if err := m.Apply(s, []certs.Subject{{Name: "a.eab.example.jp"}}); err != nil {
		t.Fatal(err)
	}
	c.waitFor(t, "a.eab.example.jp")
}

// While one process replaces another a CA may come to either: each answers for
// the orders of both, and one certificate is ordered, not two.
func TestOtherProcessAnswers(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	dir := t.TempDir()
	names := []certs.Subject{{Name: "a.two.example.jp"}, {Name: "b.two.example.jp"}}
	for i, one := range names {
		c.dns.Set(one.Name, netip.IPv6Loopback())
		s := c.settings(dir)
		s.HTTP, s.TLS = i == 0, i == 1
		first := f.manage(t, s, one)
		f.manage(t, s, one) // it answers from now on
		waitUntil(t, "certificate", func() error {
			if all := first.Status(); len(all) != 1 || all[0].NotAfter.IsZero() {
				return fmt.Errorf("%+v", all)
			}
			return nil
		})
		c.waitFor(t, one.Name)
	}
	if n := len(c.ordered()); n != 2 {
		t.Errorf("%d orders for two names", n)
	}
}

// A reload tries at once what was to wait, but does not make many reloads many
// orders.
func TestReloadHurries(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	s := c.settings(t.TempDir())
	s.Retry = 300 * time.Millisecond
	m := f.manage(t, s, certs.Subject{Name: "a.hurry.example.jp"}) // which DNS does not know yet
	reload := func() int {
		if err := m.Apply(s, []certs.Subject{{Name: "a.hurry.example.jp"}}); err != nil {
			t.Fatal(err)
		}
		return m.Status()[0].Tries
	}
	waitUntil(t, "ten failures, each by a reload", func() error { // without, they take 511 waits
		if n := reload(); n < 10 {
			return fmt.Errorf("%d failures", n)
		}
		return nil
	})
	before, many := reload(), time.Now()
	for range 50 {
		reload()
	}
	if more, allowed := reload()-before, int(time.Since(many)/s.Retry)+1; more > allowed {
		t.Errorf("%d more orders by many reloads, want at most %d", more, allowed)
	}
	c.dns.Set("a.hurry.example.jp", netip.IPv6Loopback())
	waitUntil(t, "the next one allowed", func() error {
		if reload(); m.Status()[0].Error != "" {
			return fmt.Errorf("%+v", m.Status())
		}
		return nil
	})
	c.waitFor(t, "a.hurry.example.jp")
}

// A CA that counts is left alone for as long as it says.
func TestRateLimited(t *testing.T) {
	t.Parallel()
	c := startCA(t)
	f := c.startFront(t)
	c.dns.Set("a.limited.example.jp", netip.IPv6Loopback())
	c.set(func() { c.limit = 2 })
	began := time.Now()
	s := c.settings(t.TempDir())
	s.Retry = time.Millisecond
	m := f.manage(t, s, certs.Subject{Name: "a.limited.example.jp"})
	waitUntil(t, "refusal", func() error {
		if all := m.Status(); len(all) != 1 || !strings.Contains(all[0].Error, "too many certificates") {
			return fmt.Errorf("%+v", all)
		}
		return nil
	})
	c.waitFor(t, "a.limited.example.jp")
	if took, n := time.Since(began), len(c.ordered()); took < 2*time.Second || n != 3 {
		t.Errorf("%d orders in %s; two were refused, each for a second", n, took)
	}
}
