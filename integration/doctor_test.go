package integration

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"
	"genkan/proxy/dnsupdate"
)

// A finding is one of doctor's.
type finding struct{ Check, Severity, Found, Why, Fix string }

// A clinic is a world whose front is in good health: with the records of its site in a real BIND, its server, and files
// of its own in the place of those that ufw and the resolver have in /etc.
type clinic struct {
	*world
	t      *testing.T // whole test's: what is opened for one row may have to stand in the next
	genkan *lab.Daemon
	server net.Listener
}

const reverseZone = "1.4.e.0.1.0.0.2.ip6.arpa"

// clinicConfig is the front's; more stands in [tunnel], at the end stands what follows.
func clinicConfig(more, end string) string {
	return tunnelConfig + more + "[site.\"www.example.test\"]\nlisten = \"tunnel:80\"\nto = \"10.0.0.10:8080\"\n" + end
}

func mustClinic(t *testing.T) *clinic {
	t.Helper()
	c := &clinic{world: mustQuietWorld(t), t: t}
	waitReady(t, c.world.genkan(t, c.Relay, lab.RelayConfig+"mtu = 1480\n")) // what is too large for the path is not for the relay
	require.Program(t, "ufw", "ufw")
	require.Program(t, "nft", "nftables")
	servers.StartBindUpdates(t, c.Lab, "example.test", reverseZone)
	for _, dir := range []string{"ufw", "default"} {
		if out, err := exec.Command("cp", "-a", "/etc/"+dir, filepath.Join(c.Dir, dir)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	mustWrite(t, filepath.Join(c.Dir, "resolv.conf"), "nameserver "+lab.BackendV4.String()+"\noptions timeout:1 attempts:1\n")
	c.record(t, "www.example.test. 60 IN AAAA "+lab.Front6.String())
	arpa, err := dns.ReverseAddr(lab.Front6.String())
	if err != nil {
		t.Fatal(err)
	}
	c.record(t, arpa+" 60 IN PTR www.example.test.")
	c.serve(t)
	c.genkan = c.front(t, clinicConfig("", ""))
	return c
}

// serve starts the server behind.
func (c *clinic) serve(t *testing.T) {
	t.Helper()
	if err := c.Backend.Do(func() (err error) {
		c.server, err = net.Listen("tcp4", "10.0.0.10:8080")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.server.Close() })
}

// record makes a record the only one of its name and type.
func (c *clinic) record(t *testing.T, text string) {
	t.Helper()
	rr := mustRecord(t, text)
	zone := "example.test"
	if strings.HasSuffix(rr.Header().Name, "ip6.arpa.") {
		zone = reverseZone
	}
	c.change(t, zone, dnsupdate.Change{Clear: []dns.RR{rr}, Add: []dns.RR{rr}})
}

func (c *clinic) change(t *testing.T, zone string, change dnsupdate.Change) {
	t.Helper()
	if err := c.Front.Do(func() error {
		return mustUpdater(t, "hmac-sha256:lab:"+servers.BindKey).Update(t.Context(), zone, change)
	}); err != nil {
		t.Fatal(err)
	}
}

// inside runs a command on the front, where /etc/ufw, /etc/default and /etc/resolv.conf are the clinic's.
func (c *clinic) inside(t *testing.T, command string) (string, error) {
	t.Helper()
	cmd, err := c.Private(c.Front, "/bin/sh", "-c",
		`mount --bind "$0/ufw" /etc/ufw && mount --bind "$0/default" /etc/default && mount --bind "$0/resolv.conf" /etc/resolv.conf && cd / && eval "$1"`, c.Dir, command)
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Front.RunCmd(cmd)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		p.Kill()
		t.Fatalf("%s does not end:\n%s", command, p.Output())
	}
	return p.Output(), p.Err()
}

func (c *clinic) must(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if out, err := c.inside(t, command); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
}

// complaints are what is not green, but for the machine's own clock; the exit status must say the same.
func (c *clinic) complaints(t *testing.T, doctor string) []finding {
	t.Helper()
	out, err := c.inside(t, doctor)
	var all struct{ Findings []finding }
	if jsonErr := json.Unmarshal([]byte(out), &all); jsonErr != nil {
		t.Fatalf("%s: %v: %s", doctor, err, out)
	}
	status, want := 0, 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	}
	var ill []finding
	for _, f := range all.Findings {
		switch {
		case f.Severity == "bad":
			want = 1
		case f.Severity == "warn" && want == 0:
			want = 4
		}
		if f.Severity != "ok" && (f.Why == "" || f.Fix == "") {
			t.Errorf("no cause or no fix: %+v", f)
		}
		if word, _, _ := strings.Cut(f.Fix, " "); f.Severity != "ok" && !mayPaste(word, f.Fix) {
			t.Errorf("a command with prose behind it: %+v", f)
		}
		if f.Severity != "ok" && f.Check != "clock" {
			ill = append(ill, f)
		}
	}
	if status != want {
		t.Errorf("exit status %d, want %d: %+v", status, want, all.Findings)
	}
	return ill
}

// mayPaste reports whether a fix that begins with a command is one to the end.
func mayPaste(program, fix string) bool {
	if !slices.Contains([]string{"genkan", "ip", "ip6tables", "iptables", "modprobe", "nft", "sed", "ss", "sudo", "sysctl", "systemctl", "ufw"}, program) {
		return true // prose, or a line for a file
	}
	return exec.Command("/bin/sh", "-n", "-c", fix).Run() == nil && !regexp.MustCompile(`[;,] (then|or|in a|stop|if) |\w, `).MatchString(fix)
}

// heal waits until doctor has nothing to complain of, applying the first fix each time.
func (c *clinic) heal(t *testing.T, doctor string, ill []finding, apply func(*testing.T, *clinic, finding)) {
	t.Helper()
	for range 6 {
		if len(ill) == 0 {
			t.Fatal("nothing is found")
		}
		t.Logf("%s %s: %s; fix: %s", ill[0].Severity, ill[0].Check, ill[0].Found, ill[0].Fix)
		apply(t, c, ill[0])
		deadline := time.Now().Add(10 * time.Second) // the tunnel heals itself meanwhile
		for was := ill[0]; ; time.Sleep(100 * time.Millisecond) {
			if ill = c.complaints(t, doctor); len(ill) == 0 {
				return
			}
			if ill[0] != was || time.Now().After(deadline) {
				break
			}
		}
	}
	t.Fatalf("still: %+v", ill)
}

// byShell applies a fix as it stands.
func byShell(t *testing.T, c *clinic, f finding) {
	t.Helper()
	c.must(t, f.Fix)
}

// byZone writes the line of a zone file.
func byZone(t *testing.T, c *clinic, f finding) {
	t.Helper()
	c.record(t, f.Fix)
}

var mtuLine = regexp.MustCompile(`^\[tunnel\] mtu = ([0-9]+)$`)

// byMTU writes the line into the file and reloads.
func byMTU(t *testing.T, c *clinic, f finding) {
	t.Helper()
	m := mtuLine.FindStringSubmatch(f.Fix)
	if m == nil {
		t.Fatalf("the fix %q is no line of the configuration", f.Fix)
	}
	c.reload(t, clinicConfig("mtu = "+m[1]+"\n", ""))
}

func (c *clinic) reload(t *testing.T, config string) {
	t.Helper()
	mustWrite(t, c.ConfigFile(c.Front), config)
	c.must(t, c.program+" reload")
}

// TestDoctor provokes each finding, and applies its fix: doctor must name the fault with its cause, and be content after.
func TestDoctor(t *testing.T) {
	c := mustClinic(t)
	doctor := c.program + " doctor --json -c " + c.ConfigFile(c.Front)
	if ill := c.complaints(t, doctor); len(ill) > 0 {
		t.Fatalf("in good health: %+v", ill)
	}
	if out, _ := c.inside(t, c.program+" doctor -c "+c.ConfigFile(c.Front)); strings.Contains(out, "bad ") {
		t.Errorf("in good health it prints:\n%s", out)
	}
	const web = "[forward.local]\nlisten = \"tunnel:8081\"\nto = \"10.0.0.1:8082\"\n"
	var taken net.Listener
	for _, row := range []struct {
		name     string
		provoke  func(*testing.T, *clinic)
		check    string // of the first finding
		severity string
		found    string // in it
		apply    func(*testing.T, *clinic, finding)
		undo     []string
	}{
		{"ufw-without-ipv6", func(t *testing.T, c *clinic) {
			c.must(t, "sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw", "ufw --force enable")
		}, "firewall", "bad", "ufw is on, with IPV6=no in /etc/default/ufw", byShell, []string{"ufw --force disable", "nft delete table ip6 filter", "nft delete table ip filter"}},
		{"policy-drop", func(t *testing.T, c *clinic) {
			c.must(t, `nft 'add table inet strict; add chain inet strict in { type filter hook input priority 0; policy drop; }; add rule inet strict in ct state established,related accept; add rule inet strict in iifname { "lo", "eth1" } accept'`)
		}, "firewall", "bad", `the policy of the chain "inet strict in" drops new connections to our tcp port 80`, byShell, []string{"nft delete table inet strict"}},
		{"ip6tables-policy", func(t *testing.T, c *clinic) {
			c.must(t, "ip6tables -P INPUT DROP", "ip6tables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
		}, "firewall", "bad", `the policy of the chain "ip6 filter INPUT" drops new connections to our tcp port 80`, byShell, []string{"nft delete table ip6 filter"}},
		{"packet-too-big", func(t *testing.T, c *clinic) {
			c.must(t, "nft 'add table ip6 strict; add chain ip6 strict in { type filter hook input priority 0; }; add rule ip6 strict in icmpv6 type packet-too-big drop'")
		}, "firewall", "bad", `a rule of the chain "ip6 strict in" drops ICMPv6 packet-too-big`, byShell, []string{"nft delete table ip6 strict"}},
		{"no-answers", func(t *testing.T, c *clinic) {
			c.must(t, "nft 'add table ip6 strict; add chain ip6 strict out { type filter hook output priority 0; policy drop; }'")
		}, "firewall", "bad", `the policy of the chain "ip6 strict out" drops our answers over IPv6`, byShell, []string{"nft delete table ip6 strict"}},
		{"protocol-41-here", func(t *testing.T, c *clinic) {
			c.must(t, "nft 'add table ip strict; add chain ip strict out { type filter hook output priority 0; }; add rule ip strict out ip protocol 41 drop'")
		}, "firewall", "bad", `a rule of the chain "ip strict out" drops protocol 41 to the relay`, byShell, []string{"nft delete table ip strict"}},
		{"protocol-41-on-the-way", func(t *testing.T, c *clinic) {
			mustRun(t, c.ISP, "nft", "add table ip strict; add chain ip strict f { type filter hook forward priority 0; }; add rule ip strict f ip protocol 41 drop")
		}, "relay", "bad", "198.51.100.1 sends nothing back of what we send to ourselves through it", func(t *testing.T, c *clinic, _ finding) {
			mustRun(t, c.ISP, "nft", "delete table ip strict")
		}, nil},
		{"unreachable-route", func(t *testing.T, c *clinic) { c.must(t, "ip -6 route add unreachable default metric 1") },
			"route", "bad", "the default route by tun6rd is there, and the kernel does not use it", byShell, nil},
		{"routing-rule", func(t *testing.T, c *clinic) { c.must(t, "ip -6 rule add priority 100 from all prohibit") },
			"route", "bad", "the default route by tun6rd is there, and the kernel does not use it", byShell, nil},
		{"other-default-route", func(t *testing.T, c *clinic) { c.must(t, "ip -6 route add default dev eth0 metric 1") },
			"route", "bad", "IPv6 leaves by eth0, not by tun6rd", byShell, nil},
		{"router-advertisements", func(t *testing.T, c *clinic) { c.must(t, "sysctl -w net.ipv6.conf.tun6rd.accept_ra=2") },
			"sysctl", "warn", "net.ipv6.conf.tun6rd.accept_ra is 2", byShell, nil},
		{"forwarding-and-accept-ra", func(t *testing.T, c *clinic) {
			c.must(t, "sysctl -w net.ipv6.conf.eth0.accept_ra=1", "sysctl -w net.ipv6.conf.all.forwarding=1", "ip -6 route add default dev eth0 proto ra metric 4096")
		}, "sysctl", "warn", "net.ipv6.conf.eth0.accept_ra is 1", byShell, []string{"ip -6 route del default dev eth0 proto ra metric 4096", "sysctl -w net.ipv6.conf.all.forwarding=0"}},
		{"forwarding-and-exposed", func(t *testing.T, c *clinic) {
			c.must(t, "sysctl -w net.ipv6.conf.all.forwarding=1")
			c.reload(t, clinicConfig("expose = \"all\"\n", ""))
		}, "sysctl", "warn", "net.ipv6.conf.all.forwarding is 1", byShell, nil},
		{"bindv6only", func(t *testing.T, c *clinic) {
			c.reload(t, clinicConfig("", web))
			c.must(t, "sysctl -w net.ipv6.bindv6only=1")
			taken = c.listen(t, "tcp6", "[::]:8082")
		}, "sysctl", "bad", "net.ipv6.bindv6only is 1", func(t *testing.T, c *clinic, f finding) {
			c.must(t, f.Fix)
			taken.Close()
			taken = c.listen(t, "tcp4", "10.0.0.1:8082")
		}, nil},
		{"server-down", func(*testing.T, *clinic) { taken.Close() },
			"backend", "bad", "10.0.0.1:8082 of forward \"local\" cannot be reached", func(t *testing.T, c *clinic, _ finding) {
				taken = c.listen(t, "tcp4", "10.0.0.1:8082")
			}, nil},
		{"wrong-AAAA", func(t *testing.T, c *clinic) { c.record(t, "www.example.test. 60 IN AAAA 2001:db8::1") },
			"dns", "bad", "www.example.test has the AAAA record 2001:db8::1, and we are " + lab.Front6.String(), byZone, nil},
		{"no-AAAA", func(t *testing.T, c *clinic) {
			c.change(t, "example.test", dnsupdate.Change{Clear: []dns.RR{mustRecord(t, "www.example.test. 60 IN AAAA ::1")}})
		}, "dns", "warn", "www.example.test has no AAAA record", byZone, nil},
		{"wrong-PTR", func(t *testing.T, c *clinic) {
			arpa, _ := dns.ReverseAddr(lab.Front6.String())
			c.record(t, arpa+" 60 IN PTR other.example.test.")
		}, "dns", "warn", "our address " + lab.Front6.String() + " is called other.example.test., which is none of our sites", byZone, nil},
		{"no-PTR", func(t *testing.T, c *clinic) {
			arpa, _ := dns.ReverseAddr(lab.Front6.String())
			c.change(t, reverseZone, dnsupdate.Change{Clear: []dns.RR{mustRecord(t, arpa+" 60 IN PTR x.example.test.")}})
		}, "dns", "warn", "our address " + lab.Front6.String() + " has no PTR record", byZone, nil},
		{"narrow-uplink", func(t *testing.T, c *clinic) {
			c.must(t, "ip link set eth0 mtu 1284")
		}, "uplink", "warn", "eth0 has MTU 1284, and a full packet of the tunnel needs 1300", byShell, []string{"ip link set eth0 mtu 1500"}},
		{"wrong-mtu-and-icmp-filtered", func(t *testing.T, c *clinic) {
			if err := c.ISP.SetHop("relay0", netip.MustParsePrefix("198.51.100.0/24"), 1400); err != nil {
				t.Fatal(err)
			}
			mustRun(t, c.ISP, "nft", "add table ip strict; add chain ip strict o { type filter hook output priority 0; }; add rule ip strict o meta l4proto icmp drop")
			c.reload(t, clinicConfig("mtu = 1480\n", ""))
		}, "mtu", "bad", "packets of 1380 bytes pass through 198.51.100.1, and the tunnel's MTU is 1480", byMTU, nil},
	} {
		if !t.Run(row.name, func(t *testing.T) {
			row.provoke(t, c)
			var ill []finding
			waitUntil(t, patience, "finding", func() error {
				if ill = c.complaints(t, doctor); len(ill) == 0 {
					return errors.New("nothing is found")
				}
				return nil
			})
			if f := ill[0]; f.Check != row.check || f.Severity != row.severity || !strings.Contains(f.Found, row.found) {
				t.Fatalf("found %+v,\nwant %s %s: %s", ill, row.severity, row.check, row.found)
			}
			c.heal(t, doctor, ill, row.apply)
			c.must(t, row.undo...)
		}) {
			break // the rows after it want a host in good health
		}
	}
}

// TestDoctorWithoutGenkan: what is wrong before it is started.
func TestDoctorWithoutGenkan(t *testing.T) {
	c := mustClinic(t)
	if err := c.genkan.Stop(patience); err != nil {
		t.Fatal(err)
	}
	doctor := c.program + " doctor --json -c " + c.ConfigFile(c.Front)
	only := func(prefix, doctor string) finding {
		t.Helper()
		for _, f := range c.complaints(t, doctor) {
			if f.Check == prefix {
				return f
			}
		}
		return finding{}
	}
	if f := only("ports", doctor); f.Severity != "warn" || f.Fix != "systemctl start genkan" {
		t.Errorf("ports %+v", f)
	}
	other := c.listen(t, "tcp6", "[::]:80")
	if f := only("ports", doctor); f.Severity != "bad" || !strings.Contains(f.Found, "another program listens on tunnel:80") || !strings.Contains(f.Fix, "ss -lnp 'sport = :80'") {
		t.Errorf("ports %+v", f)
	}
	other.Close()
	if f := only("kernel", doctor); f.Severity != "" {
		t.Errorf("kernel %+v", f)
	}
	if f := only("kernel", "mount -t tmpfs tmpfs /dev/net && { [ -e /sys/module/sit ] && echo '{\"findings\":[]}' || "+doctor+"; }"); f.Severity != "bad" && !exists("/sys/module/sit") {
		t.Errorf("kernel without TUN: %+v", f)
	}
	mustWrite(t, c.ConfigFile(c.Front), "[tunnel]\ndhcp = true\n")
	if f := only("dhcp", doctor); f.Severity != "bad" || !strings.Contains(f.Found, "no server answers") {
		t.Errorf("dhcp %+v", f)
	}
	mustWrite(t, c.ConfigFile(c.Front), clinicConfig("local = \"203.0.113.99\"\n", ""))
	if f := only("uplink", doctor); f.Severity != "bad" || !strings.Contains(f.Found, "no interface of this host has the local address 203.0.113.99") || !strings.Contains(f.Fix, `local = "203.0.113.5"`) {
		t.Errorf("uplink %+v", f)
	}
	mustWrite(t, c.ConfigFile(c.Front), clinicConfig("", ""))
	c.must(t, "ip addr add 100.64.0.5/24 dev eth0", "ip route add 198.51.100.1 via 203.0.113.1 src 100.64.0.5")
	if f := only("uplink", doctor); f.Severity != "warn" || !strings.Contains(f.Found, "our address towards the relay is 100.64.0.5, a private one") {
		t.Errorf("uplink %+v", f)
	}
	c.must(t, "ip route del 198.51.100.1", "ip route del default")
	if f := only("uplink", doctor); f.Severity != "bad" || !strings.Contains(f.Found, "there is no IPv4 route to the relay 198.51.100.1") {
		t.Errorf("uplink %+v", f)
	}
}

// TestDoctorOfNativeIPv6: a host that needs no tunnel has a firewall and names, too.
func TestDoctorOfNativeIPv6(t *testing.T) {
	c := mustClinic(t)
	if err := c.genkan.Stop(patience); err != nil {
		t.Fatal(err)
	}
	c.giveNativeIPv6(t)
	c.record(t, "www.example.test. 60 IN AAAA "+native6.String())
	c.genkan = c.front(t, strings.ReplaceAll(strings.TrimPrefix(clinicConfig("", ""), tunnelConfig), "tunnel:80", "["+native6.String()+"]:80"))
	doctor := c.program + " doctor --json -c " + c.ConfigFile(c.Front)
	if ill := c.complaints(t, doctor); len(ill) > 0 {
		t.Fatalf("in good health: %+v", ill)
	}
	c.must(t, "nft 'add table inet strict; add chain inet strict in { type filter hook input priority 0; policy drop; }; add rule inet strict in ct state established,related accept; add rule inet strict in meta l4proto ipv6-icmp accept'")
	c.heal(t, doctor, c.complaints(t, doctor), byShell)
	if err := reach(c.Client6, "["+native6.String()+"]:80", patience); err != nil {
		t.Errorf("after the fix: %v", err)
	}
	c.record(t, "www.example.test. 60 IN AAAA 2001:db8::1")
	c.heal(t, doctor, c.complaints(t, doctor), byZone)
}

// TestDoctorOfStrictOutput: a firewall that lets answers out and nothing new is no fault.
func TestDoctorOfStrictOutput(t *testing.T) {
	c := mustClinic(t)
	c.must(t, "nft 'add table inet strict; add chain inet strict out { type filter hook output priority 0; policy drop; }; add rule inet strict out ct state established,related accept; "+
		"add rule inet strict out oifname { \"lo\", \"eth1\" } accept; add rule inet strict out ip protocol { udp, 41 } accept'")
	if err := reach(c.Client6, "["+lab.Front6.String()+"]:80", patience); err != nil {
		t.Error(err)
	}
	if ill := c.complaints(t, c.program+" doctor --json -c "+c.ConfigFile(c.Front)); len(ill) > 0 {
		t.Errorf("complains of %+v", ill)
	}
}

// TestDoctorBeforeACME: a certificate authority that comes over IPv6 must find somebody.
func TestDoctorBeforeACME(t *testing.T) {
	c := mustClinic(t)
	c.reload(t, strings.ReplaceAll(clinicConfig("", ""), "tunnel:80", "tunnel:8080"))
	file := filepath.Join(c.Dir, "acme.toml")
	mustWrite(t, file, strings.ReplaceAll(clinicConfig("", ""), "tunnel:80", "tunnel:443"))
	doctor := c.program + " doctor --json -c " + file
	acme := func() (all []finding) {
		for _, f := range c.complaints(t, doctor) {
			if f.Check == "acme" {
				all = append(all, f)
			}
		}
		return all
	}
	if all := acme(); len(all) != 1 || all[0].Severity != "bad" || !strings.Contains(all[0].Fix, `listen = ["tunnel:80", "tunnel:443"]`) {
		t.Errorf("found %+v", all)
	}
	c.reload(t, strings.ReplaceAll(clinicConfig("", ""), `"tunnel:80"`, `["tunnel:80", "tunnel:8080"]`))
	if all := acme(); len(all) != 1 || all[0].Severity != "warn" {
		t.Errorf("found %+v", all)
	}
}

// listen takes a port on the front.
func (c *clinic) listen(t *testing.T, network, addr string) (l net.Listener) {
	t.Helper()
	if err := c.Front.Do(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	c.t.Cleanup(func() { l.Close() })
	return l
}

func mustRun(t *testing.T, n *lab.Namespace, program string, args ...string) {
	t.Helper()
	if out, err := n.Output(t.Context(), program, args...); err != nil {
		t.Fatalf("%s %v: %v: %s", program, args, err, out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
