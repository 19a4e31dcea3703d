package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// A Client speaks to one name server. The zero Client sends nothing.
type Client struct {
	// Server is the primary name server of the zones, HOST:PORT.
	Server string
	// Key signs the updates; an answer that is not signed with it is not
	// believed.
	Key Key
	// Timeout bounds one exchange. 0 means 10 seconds.
	Timeout time.Duration
}

// A Change is done as a whole or not at all (RFC 2136 §3.4): Clear first, then
// Remove, then Add.
type Change struct {
	Clear  []dns.RR // all records of each one's name and type go, whatever their data
	Remove []dns.RR // these records go, if they are there
	Add    []dns.RR // these come, if they are not there; their TTL becomes that of all of their name and type
}

// fudge is how far clocks may differ in seconds (RFC 8945 §10).
const fudge = 300

// Update changes records of one zone. All names must be in the zone. What is
// as it should be already is no error.
func (c Client) Update(ctx context.Context, zone string, change Change) error {
	zone = dns.CanonicalName(zone)
	fail := func(format string, a ...any) error {
		return fmt.Errorf("dnsupdate: %s: zone %q: "+format, append([]any{c.Server, zone}, a...)...)
	}
	if c.Key == (Key{}) {
		return fail("no key to sign the update with")
	}
	m := new(dns.Msg).SetUpdate(zone)
	for _, part := range []struct {
		rrs []dns.RR
		put func([]dns.RR)
	}{{change.Clear, m.RemoveRRset}, {change.Remove, m.Remove}, {change.Add, m.Insert}} {
		for _, rr := range part.rrs {
			if !dns.IsSubDomain(zone, rr.Header().Name) {
				return fail("%q is not in the zone", rr.Header().Name)
			}
			part.put([]dns.RR{dns.Copy(rr)}) // put writes into it
		}
	}
	if len(m.Ns) == 0 {
		return nil
	}
	m.SetTsig(c.Key.name, c.Key.algorithm, fudge, time.Now().Unix())
	r, err := c.exchange(ctx, m)
	var tsig *dns.TSIG
	if r != nil {
		tsig = r.IsTsig()
	}
	switch {
	case tsig != nil && tsig.Error != dns.RcodeSuccess: // it bears no signature (RFC 8945 §5.3.2)
		return fail("%s", c.Key.complaint(tsig.Error))
	case r != nil && r.Rcode != dns.RcodeSuccess:
		return fail("%s", c.Key.refusal(r.Rcode))
	case err != nil:
		return fail("%w", err)
	case tsig == nil:
		return fail("the answer is not signed, and not believed: somebody on the way may have written it")
	}
	return nil
}

// Zone asks the server which of its zones a name is in.
func (c Client) Zone(ctx context.Context, name string) (string, error) {
	name = dns.CanonicalName(name)
	fail := func(format string, a ...any) (string, error) {
		return "", fmt.Errorf("dnsupdate: %s: zone of %q: "+format, append([]any{c.Server, name}, a...)...)
	}
	r, err := c.exchange(ctx, new(dns.Msg).SetQuestion(name, dns.TypeSOA))
	if err != nil {
		return fail("%w", err)
	}
	if !r.Authoritative {
		return fail("the server answers %s and has no such zone; name the primary server of the zone, and make the zone there", dns.RcodeToString[r.Rcode])
	}
	for _, rr := range append(r.Answer, r.Ns...) { // the zone's own name, or one in it (RFC 2308 §2.2)
		if _, soa := rr.(*dns.SOA); soa && dns.IsSubDomain(rr.Header().Name, name) {
			return dns.CanonicalName(rr.Header().Name), nil
		}
	}
	return fail("the server answers %s and names no zone", dns.RcodeToString[r.Rcode])
}

// exchange asks over TCP: an answer cannot be forged blindly, nor a question
// be sent twice. Where the answer's signature is wrong there is an error and an answer.
func (c Client) exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	within := c.Timeout
	if within <= 0 {
		within = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	client := dns.Client{Net: "tcp", Timeout: within, TsigSecret: map[string]string{c.Key.name: c.Key.secret}}
	r, _, err := client.ExchangeContext(ctx, m, c.Server)
	var no net.Error
	switch {
	case errors.As(err, &no) && no.Timeout():
		err = fmt.Errorf("no answer within %v; is this a name server, and does a firewall let TCP port 53 through?", within)
	case errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrSecret):
		err = errors.New("the answer's signature is wrong; is it the same key on both sides?")
	case errors.Is(err, dns.ErrTime):
		err = errors.New("the answer is signed at another time; set the clocks of both hosts")
	}
	return r, err
}

// complaint is what a server says about a signature (RFC 8945 §5.2).
func (k Key) complaint(code uint16) string {
	switch code {
	case dns.RcodeBadKey:
		return fmt.Sprintf("the server does not know the %s (BADKEY); its name and algorithm must be the same on both sides", k)
	case dns.RcodeBadSig:
		return fmt.Sprintf("the server has another secret for the %s (BADSIG); copy the key file anew", k)
	case dns.RcodeBadTime:
		return "the clocks of this host and of the server differ by more than five minutes (BADTIME); set them, as by systemd-timesyncd"
	}
	return fmt.Sprintf("the server does not take the %s: %s", k, rcode(int(code)))
}

// refusal is why a server does not make a change (RFC 2136 §2.2).
func (k Key) refusal(code int) string {
	switch code {
	case dns.RcodeRefused:
		return fmt.Sprintf("the server refuses (REFUSED); allow it there: update-policy { grant %s zonesub ANY; };", strings.TrimSuffix(k.name, "."))
	case dns.RcodeNotAuth:
		return "the server has no such zone as its own (NOTAUTH); name the primary server of the zone"
	case dns.RcodeServerFailure:
		return "the server failed (SERVFAIL); it must be able to write the folder of the zone's file, see its log"
	}
	return "the server refuses: " + rcode(code)
}

func rcode(code int) string {
	if name, known := dns.RcodeToString[code]; known {
		return name
	}
	return fmt.Sprintf("code %d", code)
}
