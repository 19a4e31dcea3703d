package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// An Uplink is the interface towards the provider.
type Uplink struct {
	Name  string
	Index int
	Local netip.Addr // our IPv4 address there
}

// Find looks for option 212 in the leases of the uplink, then asks for it. It
// takes up to four seconds where no server answers. Call it on a thread of the uplink's
// network namespace.
func Find(ctx context.Context, u Uplink) (Parameters, error) {
	p, err := fromFiles(u, time.Now())
	if !errors.Is(err, errNone) {
		return p, err
	}
	p, err = inform(ctx, u)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w; no lease of %s on this host has it either: write prefix and relays, as the provider names them", err, u.Name)
	}
	return p, err
}
