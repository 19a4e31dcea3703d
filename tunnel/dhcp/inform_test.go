package dhcp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"genkan/tunnel/dhcp"
	"genkan/tunnel/tunneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var domain = dhcp.Parameters{Prefix: netip.MustParsePrefix("2001:e41::/32"), Relays: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}

// startServer answers each DHCP question as f says, from the server's end of the cable.
func startServer(t *testing.T, ns *tunneltest.NS, f func(question *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4) {
	t.Helper()
	var conn net.PacketConn
	ns.Must(func() (err error) {
		cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) }), err)
		}}
		conn, err = cfg.ListenPacket(context.Background(), "udp4", "0.0.0.0:67")
		return err
	})
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			question, err := dhcpv4.FromBytes(buf[:n])
			if err != nil {
				t.Errorf("the question cannot be read: %v", err)
				continue
			}
			if question.MessageType() != dhcpv4.MessageTypeInform || !question.ClientIPAddr.Equal(net.IPv4(203, 0, 113, 5)) || !question.IsOptionRequested(dhcpv4.GenericOptionCode(212)) {
				t.Errorf("no DHCPINFORM for option 212: %s", question.Summary())
			}
			for _, answer := range f(question) {
				if _, err := conn.WriteTo(answer.ToBytes(), from); err != nil {
					return
				}
			}
		}
	}()
}

// What a server answers is believed where it is an answer to our question, with an option that is right throughout.
func TestInform(t *testing.T) {
	const prefix = "prefix 2001:e41::/32, ipv4_mask_len 0, relays [198.51.100.1] of the DHCP server 203.0.113.1"
	const rest = "; no lease of up0 on this host has it either: write prefix and relays, as the provider names them"
	answer := func(q *dhcpv4.DHCPv4, option []byte, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		more = append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeAck)}, more...)
		if option != nil {
			more = append(more, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(212), option)))
		}
		a, err := dhcpv4.NewReplyFromRequest(q, more...)
		if err != nil {
			t.Error(err)
		}
		return a
	}
	wrong := append([]byte{33}, domain.Bytes()[1:]...)
	other := dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4})
	for _, row := range []struct {
		name string
		f    func(q *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4
		want string
	}{
		{"right", func(q *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return []*dhcpv4.DHCPv4{answer(q, domain.Bytes())} }, prefix},
		{"for-another-before", func(q *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
			return []*dhcpv4.DHCPv4{answer(q, wrong, other), answer(q, wrong, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak)), answer(q, domain.Bytes())}
		}, prefix},
		{"one-server-has-none", func(q *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 {
			return []*dhcpv4.DHCPv4{answer(q, nil), answer(q, domain.Bytes())}
		}, prefix},
		{"none", func(q *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return []*dhcpv4.DHCPv4{answer(q, nil)} },
			"the DHCP server 203.0.113.1 gives no option 212 (6rd)" + rest},
		{"wrong", func(q *dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return []*dhcpv4.DHCPv4{answer(q, wrong)} },
			"the DHCP server 203.0.113.1: option 212: IPv4MaskLen 33, more than 32" + rest},
		{"silent", func(*dhcpv4.DHCPv4) []*dhcpv4.DHCPv4 { return nil }, "DHCPINFORM on up0: no server answers" + rest},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			host, provider := tunneltest.NewNS(t), tunneltest.NewNS(t)
			tunneltest.Veth(host, "up0", netip.MustParsePrefix("203.0.113.5/24"), provider, "front0", netip.MustParsePrefix("203.0.113.1/24"))
			startServer(t, provider, row.f)
			var got string
			host.Must(func() error {
				link, err := netlink.LinkByName("up0")
				if err != nil {
					return err
				}
				p, err := dhcp.Find(t.Context(), dhcp.Uplink{Name: "up0", Index: link.Attrs().Index, Local: netip.MustParseAddr("203.0.113.5")})
				got = p.String() + " of " + p.From
				if err != nil {
					got = err.Error()
				}
				return nil
			})
			if strings.TrimSpace(got) != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}
