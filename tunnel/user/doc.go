// Package user is the tunnel's userspace datapath: a TUN device, a packet
// socket that receives and raw sockets that send. It needs CAP_NET_ADMIN for
// the device and CAP_NET_RAW for the sockets, and no kernel module but tun.
//
//	IPv6 stack ── TUN ── sender ── Egress ── cut super-packets ── raw socket ── uplink
//	           ── TUN ◀─ receiver ◀─ Check ◀─ packet socket with virtio_net_hdr ── uplink
//
// A Device is the TUN device and lives as long as the tunnel. A Link is the
// rest; it is made anew when our IPv4 address changes.
package user
