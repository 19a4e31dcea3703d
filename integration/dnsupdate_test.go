package integration

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"genkan/integration/lab"
	"genkan/integration/servers"
	"genkan/proxy/dnsupdate"
)

// mustUpdater is a client of the lab's BIND with a key in the short form.
func mustUpdater(t *testing.T, key string) dnsupdate.Client {
	t.Helper()
	k, err := dnsupdate.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return dnsupdate.Client{Server: lab.BackendV4.String() + ":53", Key: k, Timeout: patience}
}

func mustRecord(t *testing.T, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// records asks the lab's BIND, from the front, for the records of a name and type, as text without TTL and class.
func records(t *testing.T, l *lab.Lab, name string, kind uint16) []string {
	t.Helper()
	var answer *dns.Msg
	err := l.Front.Do(func() (err error) {
		client := dns.Client{Net: "tcp", Timeout: patience}
		answer, _, err = client.ExchangeContext(context.Background(), new(dns.Msg).SetQuestion(dns.Fqdn(name), kind), lab.BackendV4.String()+":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for _, rr := range answer.Answer {
		words := strings.Fields(rr.String())
		all = append(all, strings.Join(words[4:], " "))
	}
	slices.Sort(all)
	return all
}

// TestDNSUpdateOfBIND changes records of a real BIND, and compares what it says where it refuses.
func TestDNSUpdateOfBIND(t *testing.T) {
	l := mustQuietWorld(t).Lab
	servers.StartBindUpdates(t, l, "example.test")
	c := mustUpdater(t, "hmac-sha256:lab:"+servers.BindKey)
	at := func(f func(ctx context.Context) error) error {
		return l.Front.Do(func() error { return f(t.Context()) })
	}
	update := func(c dnsupdate.Client, change dnsupdate.Change) error {
		return at(func(ctx context.Context) error { return c.Update(ctx, "example.test", change) })
	}
	for name, want := range map[string]string{
		"www.example.test": "example.test.",
		"a.b.EXAMPLE.test": "example.test.",
		"example.test":     "example.test.",
		"www.example.com":  `error: dnsupdate: 10.0.0.10:53: zone of "www.example.com.": the server answers REFUSED and has no such zone; name the primary server of the zone, and make the zone there`,
	} {
		var got string
		if err := at(func(ctx context.Context) (err error) { got, err = c.Zone(ctx, name); return err }); err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("zone of %s:\n got %s\nwant %s", name, got, want)
		}
	}

	one, two, other := mustRecord(t, "www.example.test. 60 AAAA 2001:db8::1"), mustRecord(t, "www.example.test. 60 AAAA 2001:db8::2"), mustRecord(t, "www.example.test. 60 AAAA 2001:db8::3")
	for _, row := range []struct {
		change dnsupdate.Change
		want   []string
	}{
		{dnsupdate.Change{Add: []dns.RR{one}}, []string{"2001:db8::1"}},
		{dnsupdate.Change{Add: []dns.RR{one, other}}, []string{"2001:db8::1", "2001:db8::3"}}, // once more is no error
		{dnsupdate.Change{Remove: []dns.RR{one}, Add: []dns.RR{two}}, []string{"2001:db8::2", "2001:db8::3"}},
		{dnsupdate.Change{Remove: []dns.RR{one}}, []string{"2001:db8::2", "2001:db8::3"}}, // what is gone is no error
		{dnsupdate.Change{Clear: []dns.RR{one}, Add: []dns.RR{one}}, []string{"2001:db8::1"}},
		{dnsupdate.Change{Clear: []dns.RR{one}}, []string{}},
	} {
		if err := update(c, row.change); err != nil {
			t.Errorf("%+v: %v", row.change, err)
		}
		if got := records(t, l, "www.example.test", dns.TypeAAAA); !slices.Equal(got, row.want) {
			t.Errorf("after %+v: %q, want %q", row.change, got, row.want)
		}
	}

	late := c
	late.Server = "10.0.0.10:54"
	for _, row := range []struct {
		c    dnsupdate.Client
		zone string
		want string
	}{
		{mustUpdater(t, "hmac-sha256:nobody:"+servers.BindKey), "example.test", `the server does not know the key "nobody." (hmac-sha256) (BADKEY); its name and algorithm must be the same on both sides`},
		{mustUpdater(t, "hmac-sha256:lab:YW5vdGhlcg=="), "example.test", `the server has another secret for the key "lab." (hmac-sha256) (BADSIG); copy the key file anew`},
		{mustUpdater(t, "hmac-sha256:guest:"+servers.BindKey), "example.test", `the server refuses (REFUSED); allow it there: update-policy { grant guest zonesub ANY; };`},
		{c, "test", `the server has no such zone as its own (NOTAUTH); name the primary server of the zone`},
		{late, "example.test", `dial tcp 10.0.0.10:54: connect: connection refused`},
	} {
		err := at(func(ctx context.Context) error {
			return row.c.Update(ctx, row.zone, dnsupdate.Change{Add: []dns.RR{one}})
		})
		want := "dnsupdate: " + row.c.Server + `: zone "` + row.zone + `.": ` + row.want
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if got := records(t, l, "www.example.test", dns.TypeAAAA); len(got) != 0 {
		t.Errorf("somebody else wrote %q", got)
	}
}
