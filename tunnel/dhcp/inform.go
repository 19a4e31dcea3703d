package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

const (
	// rounds and patience bound the question: RFC 2131 §4.1 wants longer
	// pauses, for hosts that all start at once.
	rounds   = 3
	patience = time.Second
)

// inform asks the DHCP servers of the uplink's network for option 212, without
// a lease. The error is errNone where one answers that has none.
func inform(ctx context.Context, u Uplink) (Parameters, error) {
	doing := fmt.Sprintf("DHCPINFORM on %s", u.Name)
	conn, err := listen(ctx, u)
	if err != nil {
		return Parameters{}, fmt.Errorf("%s: %w", doing, err)
	}
	defer conn.Close()
	question, err := dhcpv4.NewInform(hardware(u), u.Local.AsSlice(),
		dhcpv4.WithOption(dhcpv4.OptParameterRequestList(dhcpv4.GenericOptionCode(optionCode))))
	if err != nil {
		return Parameters{}, fmt.Errorf("%s: %w", doing, err)
	}
	all := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ServerPort}
	said := fmt.Errorf("%s: no server answers", doing)
	buf := make([]byte, 64<<10)
	for range rounds {
		if _, err := conn.WriteTo(question.ToBytes(), all); err != nil {
			return Parameters{}, fmt.Errorf("%s: %w", doing, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return Parameters{}, fmt.Errorf("%s: %w", doing, err)
		}
		for ctx.Err() == nil {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				break // time is over
			}
			answer, err := dhcpv4.FromBytes(buf[:n])
			if err != nil || answer.MessageType() != dhcpv4.MessageTypeAck || answer.TransactionID != question.TransactionID {
				continue // for another
			}
			p, err := read(answer, from)
			if err == nil {
				return p, nil
			}
			said = err
		}
		if err := ctx.Err(); err != nil {
			return Parameters{}, fmt.Errorf("%s: %w", doing, err)
		}
		if errors.Is(said, errNone) {
			break
		}
	}
	return Parameters{}, said
}

// read takes option 212 out of a server's answer.
func read(answer *dhcpv4.DHCPv4, from net.Addr) (Parameters, error) {
	content := answer.Options.Get(dhcpv4.GenericOptionCode(optionCode))
	server := "the DHCP server " + from.(*net.UDPAddr).IP.String()
	if content == nil {
		return Parameters{}, fmt.Errorf("%s gives %w", server, errNone)
	}
	p, err := Parse(content)
	if err != nil {
		return Parameters{}, fmt.Errorf("%s: %w", server, err)
	}
	p.From = server
	return p, nil
}

// listen opens the client's port on our address, beside the host's own DHCP
// client: the kernel gives us what is sent to just this address.
func listen(ctx context.Context, u Uplink) (net.PacketConn, error) {
	cfg := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), u.Name))
		}), err)
	}}
	return cfg.ListenPacket(ctx, "udp4", netip.AddrPortFrom(u.Local, dhcpv4.ClientPort).String())
}

// hardware is the interface's address; one without, such as PPP, has zeros.
func hardware(u Uplink) net.HardwareAddr {
	if link, err := net.InterfaceByIndex(u.Index); err == nil && len(link.HardwareAddr) > 0 {
		return link.HardwareAddr
	}
	return make(net.HardwareAddr, 6)
}
