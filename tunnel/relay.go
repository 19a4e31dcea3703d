package tunnel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// relayPatrol is how often the relay in use is tried where there is another.
	relayPatrol = 5 * time.Second
	// relayMisses in a row make a relay dead. Each is several packets.
	relayMisses = 2
	// mtuPatrol is how often an automatic MTU is looked up again.
	mtuPatrol = time.Minute
	// probeAlive is an inner packet that any path carries.
	probeAlive = 128
)

// chooseRelay sets the relay that an edge sends to: the nearest of those that
// answer (RFC 5969 §8 tells how to ask). Where none does, the first: a relay
// need not send us back to ourselves.
func (c Config) chooseRelay(ctx context.Context, p *place) error {
	if c.Kind != Kind6RD || c.Role != RoleEdge {
		return nil
	}
	p.Gateway = c.Relays[0]
	if len(c.Relays) == 1 {
		return nil
	}
	ns, err := currentNamespace()
	if err != nil {
		return err
	}
	results := make([]ProbeResult, len(c.Relays))
	errs := make([]error, len(c.Relays))
	var wg sync.WaitGroup
	for i, r := range c.Relays {
		wg.Go(func() {
			errs[i] = ns.do(func() (err error) {
				results[i], err = p.probe(ctx, r, []int{probeAlive})
				return err
			})
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ns.close())...); err != nil {
		return err
	}
	best := ProbeResult{}
	for _, res := range results {
		if res.MTU > 0 && (best.MTU == 0 || res.RTT < best.RTT) {
			best = res
		}
	}
	if p.GatewayAnswers = best.MTU > 0; !p.GatewayAnswers {
		c.Log.Warn("tunnel: no relay answers a probe, uses the first", "relay", p.Gateway)
		return nil
	}
	p.Gateway = best.Relay
	return nil
}

// watchRelay tries the relay in use, and the MTU where it is automatic, until ctx
// ends or something has to change; the error says what.
func (t *Tunnel) watchRelay(ctx context.Context) error {
	t.mu.Lock()
	cfg, p, mtu := t.site.cfg, t.site.place, t.site.mtu
	t.mu.Unlock()
	if cfg.Role != RoleEdge || cfg.Kind != Kind6RD {
		return nil
	}
	probe := func(sizes []int) (res ProbeResult) {
		_ = t.ns.do(func() (err error) {
			res, err = p.probe(ctx, p.Gateway, sizes)
			return err
		})
		return res
	}
	answers, misses := p.GatewayAnswers, 0 // of one that never answered, silence says nothing
	lastMTU := time.Now()
	for {
		pause(ctx, relayPatrol)
		if ctx.Err() != nil {
			return nil
		}
		if cfg.MTU == MTUAuto && time.Since(lastMTU) >= mtuPatrol {
			lastMTU = time.Now()
			if res := probe(probeSizes(p.UplinkMTU)); res.MTU > 0 && max(minMTU, res.MTU) != mtu {
				return fmt.Errorf("mtu %d passes now, was %d", max(minMTU, res.MTU), mtu)
			}
		}
		if len(cfg.Relays) == 1 {
			continue
		}
		misses++
		if probe([]int{probeAlive}).MTU > 0 {
			answers, misses = true, 0
		}
		if answers && misses >= relayMisses {
			return fmt.Errorf("relay %s does not answer any more", p.Gateway)
		}
	}
}
