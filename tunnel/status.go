package tunnel

import (
	"net/netip"
	"time"
)

// Who makes the ingress checks.
const (
	checksEBPF      = "ebpf"      // programs on the uplink
	checksNFTables  = "nftables"  // tables of ours
	checksUserspace = "userspace" // the process that moves the packets
)

// A Status is what a tunnel is and has done. It marshals to JSON as it stands.
type Status struct {
	Interface   string       `json:"interface"`
	Kind        string       `json:"kind"`
	Role        string       `json:"role"`
	Datapath    string       `json:"datapath"` // the one in use
	Fallback    []string     `json:"fallback"` // why better ones were passed over, one line each
	Local       netip.Addr   `json:"local"`
	Delegated   netip.Prefix `json:"delegated"`
	Address     netip.Addr   `json:"address"`
	Domain      netip.Prefix `json:"domain,omitzero"` // the 6rd prefix
	IPv4MaskLen int          `json:"ipv4_mask_len"`
	Relays      []netip.Addr `json:"relays"`
	Relay       netip.Addr   `json:"relay,omitzero"`       // the one in use; only for a 6rd edge
	LeaseFrom   string       `json:"lease_from,omitempty"` // who gave domain and relays by DHCP; "": the configuration
	MTU         int          `json:"mtu"`
	Expose      string       `json:"expose"`
	Filter      string       `json:"filter"` // "stateful", "stateless" (no conntrack here) or "none"
	Checks      []string     `json:"checks"` // who makes the ingress checks, in order: "ebpf", "nftables", "userspace"
	Ports       []Port       `json:"ports"`
	Since       time.Time    `json:"since"`
	// Remade counts how often the interface had to be made again.
	Remade uint64 `json:"remade"`

	// Received and Sent count inner packets that passed, in whole tunnel.
	Received Count `json:"received"`
	Sent     Count `json:"sent"`
	// Drops counts packets refused, by the reason's name.
	Drops map[string]uint64 `json:"drops"`
}

// A Count is a number of packets and of their inner bytes.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// A Port is a range of ports that the tunnel lets in.
type Port struct {
	Proto string `json:"proto"` // "tcp" or "udp"
	First uint16 `json:"first"`
	Last  uint16 `json:"last"` // 0: only First
}

// A Change says that the tunnel's address or 6rd domain is another one now:
// listeners on the tunnel's address, identities, rules and DNS follow it.
type Change struct {
	Local     netip.Addr // the IPv4 address
	Delegated netip.Prefix
	Address   netip.Addr
}
