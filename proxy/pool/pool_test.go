package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"genkan/acl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addr(t testing.TB, text string) acl.Addr {
	t.Helper()
	a, err := acl.ParseAddr(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustOpen(t testing.TB, config Config, store *Store) *Pool {
	t.Helper()
	p, err := Open(config, store)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustLease(t testing.TB, p *Pool, client string) *Lease {
	t.Helper()
	l, err := p.Lease(addr(t, client))
	if err != nil {
		t.Fatalf("%s: %v", client, err)
	}
	return l
}

func small(quarantine time.Duration) Config {
	return Config{Name: "default", Prefix: netip.MustParsePrefix("100.64.0.0/29"), Quarantine: quarantine}
}

func TestOneAddressACustomer(t *testing.T) {
	p := mustOpen(t, Config{Name: "default", Prefix: netip.MustParsePrefix("100.64.0.0/16")}, nil)
	for _, row := range []struct{ client, want string }{
		{"2001:db8:1::1", "100.64.0.1"},
		{"2001:db8:1::2", "100.64.0.1"},
		{"2001:db8:1:1::1", "100.64.0.2"},
		{"192.0.2.1", "100.64.0.3"},
		{"192.0.2.2", "100.64.0.4"},
		{"::ffff:192.0.2.1", "100.64.0.3"},
		{"::c000:201", "100.64.0.5"}, // an IPv6 /64 with the bits of no IPv4 client
		{"::1", "100.64.0.5"},
		{"2001:db8:1::3", "100.64.0.1"},
	} {
		if got := mustLease(t, p, row.client).Addr.String(); got != row.want {
			t.Errorf("%s has %s, want %s", row.client, got, row.want)
		}
	}
	if got := p.Probe().String(); got != "100.64.255.254" {
		t.Errorf("Probe() = %s", got)
	}
	if _, err := p.Lease(acl.Addr{}); err == nil {
		t.Error("the zero Addr got an address")
	}
	if got, want := p.Stats(), (Stats{"default", 65533, 5, 9}); got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// A full pool refuses; an address goes to another client only after it was out
// of use for the quarantine, the longest unused one first.
func TestExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustOpen(t, small(time.Hour), nil)
		held := mustLease(t, p, "2001:db8:0::1")
		for i := 1; i < 5; i++ {
			mustLease(t, p, fmt.Sprintf("2001:db8:%d::1", i)).Release()
			time.Sleep(time.Minute)
		}
		refused := func(client string) {
			t.Helper()
			_, err := p.Lease(addr(t, client))
			want := `pool exhausted: "default" (100.64.0.0/29) has no address that is out of use for 1h0m0s`
			if !errors.Is(err, ErrExhausted) || err.Error() != want {
				t.Errorf("%s: %v, want %s", client, err, want)
			}
		}
		refused("2001:db8:f::1")
		time.Sleep(56*time.Minute + 30*time.Second) // 60.5 after the first release
		if got := mustLease(t, p, "2001:db8:f::1").Addr.String(); got != "100.64.0.2" {
			t.Errorf("the newcomer has %s, want the address unused for longest", got)
		}
		refused("2001:db8:1::1") // it lost its own
		time.Sleep(24 * time.Hour)
		mustLease(t, p, "2001:db8:1::1")
		if got := held.Addr; got.String() != "100.64.0.1" || !holds(p, "2001:db8:0::1", got) {
			t.Errorf("the address in use was taken away: %v", got)
		}
		held.Release()
		held.Release()
		if p.Stats().Open != 2 {
			t.Errorf("a second Release counted: %+v", p.Stats())
		}
	})
}

func holds(p *Pool, client string, want netip.Addr) bool {
	a, _ := acl.ParseAddr(client)
	m, ok := p.Where(a, time.Now())
	return ok && m.Addr == want
}

// All in use for ever: no address, and no endless search.
func TestExhaustedInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := mustOpen(t, small(time.Nanosecond), nil)
		for i := range 5 {
			mustLease(t, p, fmt.Sprintf("192.0.2.%d", i))
		}
		time.Sleep(time.Hour)
		if _, err := p.Lease(addr(t, "192.0.2.99")); !errors.Is(err, ErrExhausted) {
			t.Errorf("%v, want ErrExhausted", err)
		}
	})
}

// One /48 cannot take the pool; our own 6rd domain is many strangers.
func TestShareOfA48(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		domain, err := acl.ParsePrefix("2001:e41::/32")
		if err != nil {
			t.Fatal(err)
		}
		p := mustOpen(t, Config{Name: "p", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Per48: 2, Quarantine: time.Hour, Domain: domain}, nil)
		mustLease(t, p, "2001:db8:1:1::1").Release()
		mustLease(t, p, "2001:db8:1:2::1")
		_, err = p.Lease(addr(t, "2001:db8:1:3::1"))
		if want := `the client's /48 has its share of the pool "p" (2 addresses)`; !errors.Is(err, ErrShare) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		mustLease(t, p, "2001:db8:2:1::1")
		for i := range 5 {
			mustLease(t, p, fmt.Sprintf("2001:e41:1:%d::1", i))
		}
		time.Sleep(2 * time.Hour)
		if got := mustLease(t, p, "2001:db8:1:3::1").Addr.String(); got != "10.0.0.1" {
			t.Errorf("the /48's new client has %s, want its old one's 10.0.0.1", got)
		}
	})
}

// Mappings outlive the process; who() knows also who had an address before.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	run := func(config Config, use func(*Pool)) {
		t.Helper()
		store, err := OpenStore(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := mustOpen(t, config, store)
		use(p)
		p.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	run(small(time.Hour), func(p *Pool) {
		for i := range 3 {
			mustLease(t, p, fmt.Sprintf("2001:db8:%d::1", i)).Release()
		}
	})
	run(small(time.Nanosecond), func(p *Pool) {
		if got := mustLease(t, p, "2001:db8:2::9").Addr.String(); got != "100.64.0.3" {
			t.Errorf("after a restart the client has %s, want 100.64.0.3", got)
		}
		if got := mustLease(t, p, "2001:db8:9::1").Addr.String(); got != "100.64.0.4" {
			t.Errorf("the newcomer has %s, want the next one, 100.64.0.4", got)
		}
		mustLease(t, p, "192.0.2.1")
		evicted := mustLease(t, p, "192.0.2.2").Addr
		now, ok := p.Who(evicted, time.Now())
		if !ok || now.Client.String() != "192.0.2.2/32" || now.Open != 1 {
			t.Errorf("who has %s now: %+v, %v", evicted, now, ok)
		}
		before, ok := p.Who(evicted, began)
		if !ok || before.Client.String() != "2001:db8::/64" && before.Client.String() != "2001:db8:1::/64" {
			t.Errorf("who had %s before: %+v, %v", evicted, before, ok)
		}
		was, ok := p.Where(acl.AddrFrom(before.Client.Addr()), began)
		if !ok || was != before {
			t.Errorf("which address had %s before: %+v, %v; want %+v", before.Client, was, ok, before)
		}
		if m, ok := p.Where(acl.AddrFrom(before.Client.Addr()), time.Now()); ok {
			t.Errorf("which address has %s now: %+v, want none", before.Client, m)
		}
		if m, ok := p.Who(evicted, began.Add(-time.Hour)); ok {
			t.Errorf("who had %s long ago: %+v, want nobody", evicted, m)
		}
	})
	run(Config{Name: "default", Prefix: netip.MustParsePrefix("10.0.0.0/24")}, func(p *Pool) {
		if got := mustLease(t, p, "2001:db8:2::9").Addr.String(); got != "10.0.0.1" {
			t.Errorf("after a change of the prefix the client has %s, want 10.0.0.1", got)
		}
	})
}

// A process that is killed leaves mappings unwritten. Its addresses are not
// given to others early.
func TestCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	config := Config{Name: "default", Prefix: netip.MustParsePrefix("10.0.0.0/24"), Quarantine: time.Hour}
	store, err := OpenStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := mustOpen(t, config, store)
	lost := mustLease(t, p, "2001:db8:1::1").Addr
	store.mu.Lock()
	store.pending = map[*bucket]*changes{} // the crash: nothing more is written
	store.mu.Unlock()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = OpenStore(path, nil); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	p = mustOpen(t, config, store)
	if got := mustLease(t, p, "2001:db8:2::1").Addr; got == lost {
		t.Errorf("another client got %s at once", lost)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, row := range []struct{ prefix, want string }{
		{"2001:db8::/64", `pool "p": prefix "2001:db8::/64": write an IPv4 prefix from /8 to /29, such as "100.64.0.0/16"`},
		{"10.0.0.0/30", `pool "p": prefix "10.0.0.0/30": write an IPv4 prefix from /8 to /29, such as "100.64.0.0/16"`},
		{"10.0.0.0/7", `pool "p": prefix "10.0.0.0/7": write an IPv4 prefix from /8 to /29, such as "100.64.0.0/16"`},
	} {
		if _, err := Open(Config{Name: "p", Prefix: netip.MustParsePrefix(row.prefix)}, nil); err == nil || err.Error() != row.want {
			t.Errorf("%s: %v, want %s", row.prefix, err, row.want)
		}
	}
	path := filepath.Join(t.TempDir(), "pool.db")
	store, err := OpenStore(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	want := fmt.Sprintf("pool: open %q: another process has it; is genkan running twice?", path)
	if _, err := OpenStore(path, nil); err == nil || err.Error() != want {
		t.Errorf("a second OpenStore: %v, want %s", err, want)
	}
}
