package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"genkan/acl"
	"genkan/proxy/pool"
	"genkan/proxy/probe"
	"genkan/proxy/xclient"
)

// A Probe is what one mail or DNS server did for a client of one forward.
type Probe struct {
	Forward string
	Backend string // as configured
	Mail    bool   // else it is DNS
	As      string // how the server sees the client, in words
	probe.Answer

	to  Backend
	who netip.AddrPort
}

// ProbeAll asks the mail and DNS servers of a configuration whether they do for
// its clients what only friends may ask: RCPT TO elsewhere, and recursion. The
// servers see the very addresses and announcements that they see of clients.
// It opens no listener. The addresses of a pool are there where a Server runs on
// this machine; where none does, borrow makes the one that is asked from this
// machine's own for so long, by a route.
func ProbeAll(ctx context.Context, cfg Config, borrow bool) (all []Probe, err error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	st := s.state.Load()
	all = st.probes()
	if borrow {
		giveBack := st.borrow(all)
		defer func() { err = errors.Join(err, giveBack()) }()
	}
	slots, asking := make(chan struct{}, maxProbes), sync.WaitGroup{}
	for i := range all {
		slots <- struct{}{}
		asking.Go(func() {
			all[i].ask(ctx, st)
			<-slots
		})
	}
	asking.Wait()
	return all, nil
}

// borrow makes the addresses that probes come from this machine's own, where
// they are not. Where it may not, the probes tell.
func (st *state) borrow(all []Probe) (giveBack func() error) {
	var undo []func() error
	seen := map[netip.Addr]bool{}
	for _, p := range all {
		from, _, _ := st.probeSource(st.forwards[p.Forward], p.who)
		if !from.IsValid() || seen[from] {
			continue
		}
		seen[from] = true
		if conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: from.AsSlice()}); err == nil {
			conn.Close()
			continue
		}
		if one, err := routeLocally(netip.PrefixFrom(from, 32)); err == nil {
			undo = append(undo, one)
		}
	}
	return func() (err error) {
		for _, one := range undo {
			err = errors.Join(err, one())
		}
		return err
	}
}

// maxProbes bounds the servers that are asked at once.
const maxProbes = 16

// probes lists what there is to ask.
func (st *state) probes() (all []Probe) {
	for _, c := range st.config.Forwards {
		f := st.forwards[c.Name]
		for _, to := range c.To {
			for port := int(to.Port); port <= int(max(to.Port, to.PortEnd)); port++ {
				b := Backend{Addr: to.Addr, Name: to.Name, Port: uint16(port)}
				mail, trusting := f.trusts(b.Port)
				if !trusting {
					continue
				}
				for _, who := range f.strangers() {
					all = append(all, Probe{Forward: c.Name, Backend: b.String(), Mail: mail, to: b, who: who})
				}
			}
		}
	}
	return all
}

// trusts tells whether a backend's port is one of servers that trust by
// address, and of which kind.
func (f *forward) trusts(port uint16) (mail, trusting bool) {
	mail = f.Protocol == "smtp" || f.Protocol == "" && slices.Contains([]uint16{25, 465, 587}, port)
	return mail, mail || f.Protocol == "dns" || f.Protocol == "" && port == 53
}

// strangers are the clients that servers are asked as: of each family where
// they are told the address, else one.
func (f *forward) strangers() []netip.AddrPort {
	all := []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:40000")}
	if len(f.Announce) > 0 {
		all = append(all, netip.MustParseAddrPort("192.0.2.1:40000"))
	}
	return all
}

// ask asks the backend as the client.
func (p *Probe) ask(ctx context.Context, st *state) {
	f := st.forwards[p.Forward]
	from, lease, as := st.probeSource(f, p.who)
	p.As = as
	conn, err := st.probeDial(ctx, f, p.to, from)
	if err != nil {
		p.Text = fmt.Sprintf("cannot be asked: %v", err)
		return
	}
	defer conn.Close()
	_, overUDP := conn.(*net.UDPConn)
	head, err := f.header(introduction{network: conn.RemoteAddr().Network(), client: p.who, local: probeDoor(p.who), pooled: lease, id: newID()})
	if err == nil && !overUDP && len(head) > 0 {
		_, err = conn.Write(head)
	}
	switch {
	case err != nil:
		p.Text = err.Error()
	case p.Mail:
		p.Answer = askMail(ctx, f, conn, p)
	default:
		p.Answer = probe.Names(ctx, conn, head)
	}
}

func (st *state) probeDial(ctx context.Context, f *forward, to Backend, from netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, st.timeouts.Dial)
	defer cancel()
	addr := to.Addr.Netip()
	if to.Name != "" {
		addrs, _, err := lookupA(ctx, to.Name, lookupSystem)
		if err != nil {
			return nil, err
		}
		addr = addrs[0]
	}
	network := "udp4"
	if slices.ContainsFunc(f.Listen, func(l Listen) bool { return l.Network == "tcp" }) {
		network = "tcp4"
	}
	conn, err := st.guard.dial(ctx, network, netip.AddrPortFrom(addr, to.Port), source{addr: from})
	if err != nil {
		return nil, cause(err)
	}
	return conn, nil
}

func askMail(ctx context.Context, f *forward, conn net.Conn, p *Probe) probe.Answer {
	if p.to.Port == 465 { // RFC 8314 §3.3: TLS from the first byte; whose certificate it is does not matter
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if !slices.Contains(f.Announce, "xclient") {
		return probe.Mail(ctx, conn, nil)
	}
	greeting, err := xclient.Announce(ctx, conn, p.who)
	if err != nil {
		return probe.Answer{Verdict: probe.Refuses, Text: err.Error()} // so it does each client
	}
	return probe.Mail(ctx, conn, greeting)
}

// probeSource gives the address that a probe comes from, and says it.
func (st *state) probeSource(f *forward, who netip.AddrPort) (from netip.Addr, lease *pool.Lease, as string) {
	as = "this machine"
	for _, p := range st.config.Pools {
		if p.Name != f.Pool || f.Source == SourceOwn && !f.needsPool(acl.AddrFrom(who.Addr())) {
			continue
		}
		if one, err := pool.Open(p.settings(nil), nil); err == nil {
			lease = &pool.Lease{Addr: one.Probe()}
			one.Close()
		}
	}
	if lease != nil && f.Source != SourceOwn {
		from, as = lease.Addr, "pool address "+lease.Addr.String()
	}
	if len(f.Announce) > 0 {
		as += ", announcing " + who.Addr().String()
	}
	return from, lease, as
}

// probeDoor is where a client is said to have connected to.
func probeDoor(who netip.AddrPort) netip.AddrPort {
	if who.Addr().Is4() {
		return netip.MustParseAddrPort("192.0.2.2:25")
	}
	return netip.MustParseAddrPort("[2001:db8::2]:25")
}
