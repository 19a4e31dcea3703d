package lab

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// The lab's addresses. Front6 is what 6rd makes of FrontV4 in SixRD.
var (
	SixRD     = netip.MustParsePrefix("2001:e41::/32")
	RelayV4   = netip.MustParseAddr("198.51.100.1")
	FrontV4   = netip.MustParseAddr("203.0.113.5")
	Front6    = netip.MustParseAddr("2001:e41:cb00:7105::1")
	BackendV4 = netip.MustParseAddr("10.0.0.10")
	Backend2  = netip.MustParseAddr("10.0.0.11")
	InsideV4  = netip.MustParseAddr("10.0.0.1") // the front, as the backend sees it
	Client6   = netip.MustParseAddr("2001:db8:6::10")
	Denied6   = netip.MustParseAddr("2001:db8:bad::10") // client6 has it too
	Client4   = netip.MustParseAddr("192.0.2.10")
	Denied4   = netip.MustParseAddr("192.0.2.66") // client4 has it too
)

// Config says how to make a Lab. The zero Config makes one without names.
type Config struct {
	// Named shows the namespaces to iproute2 as genkanPID-NAME.
	Named bool
}

// A Lab is the network of the package comment, up and routed, with no program
// running in it. Close removes it.
type Lab struct {
	Client6, Client4, Relay, ISP, Front, Backend *Namespace

	// Dir is a folder for the files of the lab's programs, readable by all.
	Dir string

	named bool
	all   []*Namespace
}

// New makes a lab. Named labs that a killed process left behind are removed
// first.
func New(cfg Config) (*Lab, error) {
	removeStale()
	l := &Lab{named: cfg.Named}
	if err := l.build(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close removes all namespaces, with them every link, and Dir. Stop the programs
// in them first. It may be called again.
func (l *Lab) Close() {
	for i := len(l.all) - 1; i >= 0; i-- {
		l.all[i].close()
	}
	if l.Dir != "" {
		_ = os.RemoveAll(l.Dir)
	}
}

func (l *Lab) build() (err error) {
	if l.Dir, err = os.MkdirTemp("", "genkan"); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := os.Chmod(l.Dir, 0o755); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for _, n := range []struct {
		name   string
		ns     **Namespace
		sysctl []string // before there is a link, as they are inherited by each
	}{
		{"client6", &l.Client6, noDAD()},
		{"client4", &l.Client4, noIPv6()},
		{"relay", &l.Relay, append(noDAD(), "net/ipv6/conf/all/forwarding=1")},
		{"isp", &l.ISP, append(noIPv6(), "net/ipv4/ip_forward=1")},
		{"front", &l.Front, noDAD()},
		{"backend", &l.Backend, noIPv6()},
	} {
		ns, err := l.add(n.name)
		if err != nil {
			return err
		}
		*n.ns = ns
		for _, setting := range n.sysctl {
			key, value, _ := strings.Cut(setting, "=")
			if err := ns.Sysctl(key, value); err != nil {
				return err
			}
		}
	}
	return l.wire()
}

// noIPv6 are the switches that take IPv6 from a namespace: on all, the links
// there are, and on default, those to come.
func noIPv6() []string {
	return []string{
		"net/ipv6/conf/all/disable_ipv6=1",
		"net/ipv6/conf/default/disable_ipv6=1",
		"net/ipv6/conf/lo/disable_ipv6=1",
	}
}

// noDAD spares the second that a new link waits for the owner of its
// link-local address: until then the relay cannot ask for a neighbour.
func noDAD() []string {
	return []string{"net/ipv6/conf/all/accept_dad=0", "net/ipv6/conf/default/accept_dad=0"}
}

func (l *Lab) add(name string) (*Namespace, error) {
	var file string
	if l.named {
		file = path(os.Getpid(), name)
	}
	n, err := newNamespace(name, file)
	if err != nil {
		return nil, err
	}
	l.all = append(l.all, n)
	return n, nil
}

// wire makes the cables, addresses and routes of the drawing.
func (l *Lab) wire() error {
	for _, p := range []pair{
		{l.Client6, l.Relay, "eth0", "inet6"},
		{l.Relay, l.ISP, "eth0", "relay0"},
		{l.Client4, l.ISP, "eth0", "client0"},
		{l.Front, l.ISP, "eth0", "front0"},
		{l.Front, l.Backend, "eth1", "eth0"},
	} {
		if err := connect(p); err != nil {
			return err
		}
	}
	for _, a := range []struct {
		ns   *Namespace
		link string
		addr string
	}{
		{l.Client6, "eth0", Client6.String() + "/64"},
		{l.Relay, "inet6", "2001:db8:6::1/64"},
		{l.Relay, "eth0", RelayV4.String() + "/24"},
		{l.ISP, "relay0", "198.51.100.254/24"},
		{l.ISP, "client0", "192.0.2.1/24"},
		{l.ISP, "front0", "203.0.113.1/24"},
		{l.Client4, "eth0", Client4.String() + "/24"},
		{l.Client4, "eth0", Denied4.String() + "/24"},
		{l.Front, "eth0", FrontV4.String() + "/24"},
		{l.Front, "eth1", InsideV4.String() + "/24"},
		{l.Backend, "eth0", BackendV4.String() + "/24"},
		{l.Backend, "eth0", Backend2.String() + "/24"},
	} {
		if err := a.ns.AddAddr(a.link, netip.MustParsePrefix(a.addr)); err != nil {
			return err
		}
	}
	if err := l.Client6.AddAlias("eth0", Denied6); err != nil {
		return err
	}
	return l.route()
}

// route gives everyone a default route. The relay's IPv6 one is on-link: on
// the lab's IPv6 Internet every address is a neighbour of client6, which
// answers for whatever address a test gives it.
func (l *Lab) route() error {
	for _, r := range []struct {
		ns   *Namespace
		link string
		dst  string
		via  string
	}{
		{l.Client6, "eth0", "::/0", "2001:db8:6::1"},
		{l.Relay, "inet6", "::/0", ""},
		{l.Relay, "eth0", "0.0.0.0/0", "198.51.100.254"},
		{l.Client4, "eth0", "0.0.0.0/0", "192.0.2.1"},
		{l.Front, "eth0", "0.0.0.0/0", "203.0.113.1"},
		{l.Backend, "eth0", "0.0.0.0/0", InsideV4.String()},
	} {
		var via netip.Addr
		if r.via != "" {
			via = netip.MustParseAddr(r.via)
		}
		if err := r.ns.AddRoute(r.link, netip.MustParsePrefix(r.dst), via); err != nil {
			return err
		}
	}
	return nil
}

// Namespaces lists all of the lab's namespaces.
func (l *Lab) Namespaces() []*Namespace { return append([]*Namespace(nil), l.all...) }

// Enter is the shell command line that runs command in the namespace.
func (n *Namespace) Enter(command string) string {
	return fmt.Sprintf("ip netns exec %s %s", n.Path, command)
}
