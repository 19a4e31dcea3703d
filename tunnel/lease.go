package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"genkan/tunnel/dhcp"
)

// leasePatrol is how often DHCP is asked again though no lease was written.
const leasePatrol = 10 * time.Minute

// elsewhere is an address that nobody has (RFC 5737): the way to it is the way
// to the provider.
var elsewhere = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// Leased returns cfg with the prefix, IPv4MaskLen and relays that DHCP gives,
// where cfg wants them from there, else cfg as it is. It changes nothing.
func Leased(ctx context.Context, cfg Config) (Config, error) {
	c, _, err := cfg.leased(ctx)
	return c, err
}

// leased is Leased, and who says so.
func (c Config) leased(ctx context.Context) (Config, string, error) {
	if !c.DHCP {
		return c, "", nil
	}
	u, err := c.leaseUplink()
	if err != nil {
		return c, "", err
	}
	p, err := dhcp.Find(ctx, u)
	if err != nil {
		return c, "", fmt.Errorf("tunnel: dhcp = true: %w", err)
	}
	c.Prefix, c.IPv4MaskLen, c.Relays = p.Prefix, p.IPv4MaskLen, p.Relays
	if err := c.usable(u.Local); err != nil {
		return c, "", fmt.Errorf("tunnel: dhcp = true: %s: %w", p.From, err)
	}
	return c, p.From, nil
}

// usable says what keeps an edge from a domain that DHCP gives: one that it
// cannot go over to must not end the one that it has.
func (c Config) usable(local netip.Addr) error {
	if slices.Contains(c.Relays, local) {
		return fmt.Errorf("the relay %s is our own address; ask the provider for his border relay", local)
	}
	return c.domainOf(local).Validate()
}

// leaseUplink is the interface that DHCP is spoken on.
func (c Config) leaseUplink() (dhcp.Uplink, error) {
	p := place{Local: c.Local}
	if err := p.route(elsewhere); err != nil && !p.Local.IsValid() {
		return dhcp.Uplink{}, fmt.Errorf("tunnel: dhcp = true: there is no IPv4 default route, so no uplink to ask on; bring up IPv4 first, or write prefix, relays and local")
	}
	if c.Local.IsValid() {
		p.owner() // of several uplinks, the one that has our address
	}
	return p.lease(), nil
}

func (p place) lease() dhcp.Uplink {
	return dhcp.Uplink{Name: p.Uplink, Index: p.Index, Local: p.Local}
}

// look is survey with what DHCP says now. A server that is silent does not take
// a tunnel down whose IPv4 address stays: the lease holds.
func (t *Tunnel) look(ctx context.Context) (site, error) {
	c, from, err := t.cfg.leased(ctx)
	was := t.site.cfg
	if err != nil && was.DHCP {
		if u, gone := t.cfg.leaseUplink(); gone == nil && u.Local == t.site.place.Local {
			c.Prefix, c.IPv4MaskLen, c.Relays = was.Prefix, was.IPv4MaskLen, was.Relays
			from, err = t.from, nil
		}
	}
	if err != nil {
		return site{}, err
	}
	if c.DHCP && !c.sameDomain(was) {
		t.cfg.Log.Info("tunnel: 6rd domain by DHCP", "from", from, "prefix", c.Prefix, "ipv4_mask_len", c.IPv4MaskLen, "relays", c.Relays)
	}
	t.from = from
	return c.survey(ctx)
}

func (c Config) sameDomain(d Config) bool {
	return c.Prefix == d.Prefix && c.IPv4MaskLen == d.IPv4MaskLen && slices.Equal(c.Relays, d.Relays)
}

// watchLease asks DHCP again when the host's client has written a lease, and
// now and then, until ctx ends or another domain is given; the error says which.
func (t *Tunnel) watchLease(ctx context.Context) error {
	if !t.cfg.DHCP {
		return nil
	}
	t.mu.Lock()
	was, uplink := t.site.cfg, t.site.place.lease()
	t.mu.Unlock()
	seen, asked, said := dhcp.Stamp(uplink), time.Now(), ""
	for {
		pause(ctx, patrol)
		if ctx.Err() != nil {
			return nil
		}
		stamp := dhcp.Stamp(uplink)
		if stamp == seen && time.Since(asked) < leasePatrol {
			continue
		}
		seen, asked = stamp, time.Now()
		var now Config
		err := t.ns.do(func() (err error) {
			now, err = Leased(ctx, was)
			return err
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && err.Error() != said:
			said = err.Error()
			t.cfg.Log.Warn("tunnel: DHCP gives no 6rd domain any more; the last one is kept", "error", err)
		case err == nil && !now.sameDomain(was):
			return fmt.Errorf("DHCP gives prefix %s, ipv4_mask_len %d, relays %s now", now.Prefix, now.IPv4MaskLen, now.Relays)
		}
	}
}
