package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy/message"
)

// groupOf checks the backends of a site or forward.
func (st *state) groupOf(key, name string, to []Backend, balance Balance, check Check, maxConns int) (groupConfig, error) {
	config := groupConfig{to, groupTraits{
		name: name, key: key, balance: balance, check: check,
		maxConns: maxConns, dial: st.timeouts.Dial,
	}}
	switch {
	case len(to) == 0:
		return config, errors.New("no backend; write to = \"ADDRESS:PORT\"")
	case maxConns < 0:
		return config, fmt.Errorf("max_conns %d: negative; write how many connections a backend takes", maxConns)
	case balance > BalanceHash:
		return config, fmt.Errorf("balance %d is none of ours", balance)
	}
	for _, b := range to {
		if key == "forward" && b.Scheme != schemeHTTP {
			return config, fmt.Errorf("to %q: a forward takes bytes as they are; write the address alone", b)
		}
		if b.Name == "" && !b.Addr.Is4() {
			return config, fmt.Errorf("to %q: backends are IPv4 only; write the server's IPv4 address", b)
		}
	}
	return config, config.check.fill()
}

// fill checks c and puts the defaults in.
func (c *Check) fill() error {
	if c.Interval < 0 || c.Timeout < 0 || c.Rise < 0 || c.Fall < 0 {
		return errors.New("check: a negative value; leave it out for the default")
	}
	if err := c.fillHTTP(); err != nil {
		return err
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Rise == 0 {
		c.Rise = 2
	}
	if c.Fall == 0 {
		c.Fall = 3
	}
	return nil
}

// checkAnnounce refuses ways that are not known here.
func checkAnnounce(ways []string, known ...string) error {
	for _, way := range ways {
		if !slices.Contains(known, way) {
			return fmt.Errorf("announce %q is none of %q", way, known)
		}
	}
	return nil
}

// checkPseudoHeader refuses a name that would break the request that it is put
// into: no name of a field, or one of framing and routing.
func checkPseudoHeader(name string, announce []string) error {
	if slices.Contains(announce, "pseudo-ipv4") && slices.ContainsFunc(announce, func(way string) bool {
		return way != "pseudo-ipv4" && message.EqualFold(way, name)
	}) {
		return fmt.Errorf("pseudo_header %q carries the client's own address already; take %q out of announce, or write another name", name, strings.ToLower(name))
	}
	if !message.IsToken(name) || message.IsHop(name) || message.IsAlias(name) || message.EqualFold(name, "Host") {
		return fmt.Errorf("pseudo_header %q cannot carry an address; write a name such as \"Pseudo-IPv4\"", name)
	}
	return nil
}

// checkForwardAnnounce refuses what cannot be announced by a forward.
func checkForwardAnnounce(c Forward) error {
	if err := checkAnnounce(c.Announce, "proxy-v1", "proxy-v2", "xclient"); err != nil {
		return err
	}
	if len(c.Announce) > 1 {
		return fmt.Errorf("announce %q: a client is announced once; write one of them", c.Announce)
	}
	overUDP := slices.ContainsFunc(c.Listen, func(l Listen) bool { return l.Network == "udp" })
	if overUDP && slices.Contains(c.Announce, "proxy-v1") {
		return errors.New("announce \"proxy-v1\" is for TCP only; write \"proxy-v2\"")
	}
	if slices.Contains(c.Announce, "xclient") {
		switch {
		case overUDP || c.Protocol != "smtp":
			return errors.New("announce \"xclient\" is for mail servers; write protocol = \"smtp\" too, and TCP listeners only")
		case c.AnnounceAddress == "pool":
			return errors.New("announce \"xclient\" tells the client's own address; take announce_address away")
		}
	}
	if c.ECS && c.Protocol != "dns" {
		return errors.New("ecs is for DNS; write protocol = \"dns\" too")
	}
	if !slices.Contains([]string{"", "client", "pool"}, c.AnnounceAddress) {
		return fmt.Errorf("announce_address %q is neither \"client\" nor \"pool\"", c.AnnounceAddress)
	}
	return nil
}

// defaultMaxConns is what MaxConns is when it is zero: as many connections as
// the descriptors suffice for, with two each and some for all else, and no
// more than 65536. Refusing to accept is better than failing in the middle.
func defaultMaxConns() int {
	const most, spare = 65536, 64
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	return int(min(max(limit.Cur, spare+2)-spare, 2*most)) / 2
}
