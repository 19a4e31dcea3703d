package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"genkan/tunnel/user"
)

// kernel is Linux' sit device with its 6rd attributes. It checks less than the
// table of ingress checks asks for; the guard and the filter in front of it do
// the rest.
type kernel struct {
	name    string
	reports *user.Reports
	guard   guard
}

func (k *kernel) open(s site) error {
	k.name = s.cfg.Interface
	if err := k.openDevice(s); err != nil {
		return err
	}
	if err := k.closeReports(); err != nil {
		return err
	}
	k.guard.open(s)
	var err error
	k.reports, err = user.OpenReports(user.Config{Local: s.place.Local, Address: s.place.Address, Check: s.check})
	return explain(fmt.Sprintf("sockets for %q", k.name), capRaw, err)
}

// openDevice makes the device, unless it stands already.
func (k *kernel) openDevice(s site) error {
	doing := fmt.Sprintf("create %q", k.name)
	have, err := readSit(k.name)
	if err == nil && have == sitOf(s) {
		return nil // stands already
	}
	if err = createSit(s); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("tunnel: %s: this kernel has no sit device (load the module sit, CONFIG_IPV6_SIT): %w", doing, err)
		}
		return explain(doing, capAdmin, err)
	}
	if s.cfg.Kind == Kind6in4 {
		return nil
	}
	// A kernel without 6rd takes the attributes and ignores them.
	have, err = readSit(k.name)
	if err == nil && have.prefix != s.cfg.Prefix.Masked() {
		err = ErrNo6RD
	}
	if err == nil {
		return nil
	}
	link, findErr := netlink.LinkByName(k.name)
	if findErr == nil {
		findErr = netlink.LinkDel(link)
	}
	return explain(doing, capAdmin, errors.Join(err, findErr))
}

func (k *kernel) serve(ctx context.Context) error { return k.reports.Serve(ctx) }

func (k *kernel) count(st *Status) {
	k.guard.count(st)
	link, err := netlink.LinkByName(k.name)
	if err != nil || link.Attrs().Statistics == nil {
		return
	}
	n := link.Attrs().Statistics
	st.Received.add(Count{Packets: n.RxPackets, Bytes: n.RxBytes})
	st.Sent.add(Count{Packets: n.TxPackets, Bytes: n.TxBytes})
	// sit counts spoofed sources as errors, ECN's among the frame errors.
	for reason, n := range map[string]uint64{"src-spoof": n.RxErrors - n.RxFrameErrors, "ecn": n.RxFrameErrors, "tx-unreachable": n.TxCarrierErrors} {
		if n > 0 {
			st.Drops[reason] += n
		}
	}
	if k.reports != nil {
		for reason, n := range k.reports.Count.Drops() {
			st.Drops[reason] += n
		}
	}
}

// close: the interface is a step of its own, and stands or falls with that.
func (k *kernel) close(bool) error {
	return errors.Join(k.guard.close(), k.closeReports())
}

func (k *kernel) closeReports() error {
	if k.reports == nil {
		return nil
	}
	err := k.reports.Close()
	k.reports = nil
	return err
}

// sitParams are the attributes of a sit device as the kernel tells them.
type sitParams struct {
	local, remote netip.Addr
	ttl           uint8
	prefix        netip.Prefix
	relayPrefix   netip.Prefix
}

func sitOf(s site) sitParams {
	p := sitParams{local: s.place.Local, ttl: uint8(s.cfg.TTL)}
	if s.cfg.Kind == Kind6in4 {
		p.remote = s.cfg.Remote
		return p
	}
	p.prefix = s.cfg.Prefix.Masked()
	if s.cfg.IPv4MaskLen > 0 {
		p.relayPrefix = s.cfg.common(p.local).Masked()
	}
	return p
}

// createSit makes the device in one message: where the 6rd part fails, there
// is no device left to be removed.
func createSit(s site) error {
	p := sitOf(s)
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.cfg.Interface)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.mtu))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("sit"))
	data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
	data.AddRtAttr(nl.IFLA_IPTUN_LOCAL, p.local.AsSlice())
	if p.remote.IsValid() {
		data.AddRtAttr(nl.IFLA_IPTUN_REMOTE, p.remote.AsSlice())
	}
	data.AddRtAttr(nl.IFLA_IPTUN_TTL, nl.Uint8Attr(p.ttl))
	// At 1280 no path may refuse our packets: DF stays clear (RFC 4213 §3.2.1).
	// Above, the path MTU has to be learnt.
	var discover uint8
	if s.mtu > minMTU || s.cfg.Anycast {
		discover = 1
	}
	data.AddRtAttr(nl.IFLA_IPTUN_PMTUDISC, nl.Uint8Attr(discover))
	// Without it the device takes IPv4 in IPv4 too.
	data.AddRtAttr(nl.IFLA_IPTUN_PROTO, nl.Uint8Attr(unix.IPPROTO_IPV6))
	if p.prefix.IsValid() {
		data.AddRtAttr(nl.IFLA_IPTUN_6RD_PREFIX, p.prefix.Addr().AsSlice())
		data.AddRtAttr(nl.IFLA_IPTUN_6RD_PREFIXLEN, nl.Uint16Attr(uint16(p.prefix.Bits())))
	}
	if p.relayPrefix.IsValid() {
		data.AddRtAttr(nl.IFLA_IPTUN_6RD_RELAY_PREFIX, p.relayPrefix.Addr().AsSlice())
		data.AddRtAttr(nl.IFLA_IPTUN_6RD_RELAY_PREFIXLEN, nl.Uint16Attr(uint16(p.relayPrefix.Bits())))
	}
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// readSit reads a sit device's attributes back.
func readSit(name string) (sitParams, error) {
	var p sitParams
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	msgs, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return p, err
	}
	if len(msgs) == 0 {
		return p, unix.ENODEV
	}
	attrs, err := nl.ParseRouteAttr(msgs[0][unix.SizeofIfInfomsg:])
	for _, nested := range []uint16{unix.IFLA_LINKINFO, nl.IFLA_INFO_DATA} {
		if err != nil {
			return p, err
		}
		var value []byte
		for _, a := range attrs {
			if a.Attr.Type&^unix.NLA_F_NESTED == nested {
				value = a.Value
			}
		}
		attrs, err = nl.ParseRouteAttr(value)
	}
	for _, a := range attrs {
		p.set(a.Attr.Type, a.Value)
	}
	if p.relayPrefix.Bits() <= 0 {
		p.relayPrefix = netip.Prefix{} // IPv4MaskLen 0
	}
	return p, err
}

func (p *sitParams) set(typ uint16, v []byte) {
	addr, ok := netip.AddrFromSlice(v)
	switch {
	case typ == nl.IFLA_IPTUN_LOCAL && ok:
		p.local = addr
	case typ == nl.IFLA_IPTUN_REMOTE && ok && !addr.IsUnspecified():
		p.remote = addr
	case typ == nl.IFLA_IPTUN_TTL && len(v) == 1:
		p.ttl = v[0]
	case typ == nl.IFLA_IPTUN_6RD_PREFIX && ok:
		p.prefix = netip.PrefixFrom(addr, p.prefix.Bits())
	case typ == nl.IFLA_IPTUN_6RD_PREFIXLEN && len(v) == 2:
		p.prefix = netip.PrefixFrom(p.prefix.Addr(), int(nl.NativeEndian().Uint16(v)))
	case typ == nl.IFLA_IPTUN_6RD_RELAY_PREFIX && ok:
		p.relayPrefix = netip.PrefixFrom(addr, 0)
	case typ == nl.IFLA_IPTUN_6RD_RELAY_PREFIXLEN && len(v) == 2 && nl.NativeEndian().Uint16(v) > 0:
		p.relayPrefix = netip.PrefixFrom(p.relayPrefix.Addr(), int(nl.NativeEndian().Uint16(v)))
	}
}
