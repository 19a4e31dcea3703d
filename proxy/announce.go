package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"strings"

	"genkan/acl"
	"genkan/proxy/pool"
	"genkan/proxy/proxyproto"
	"genkan/proxy/sni"
)

// Types of TLVs in what we announce by proxy-v2 (proxy-protocol.txt §2.2).
const (
	tlvALPN      = 0x01
	tlvAuthority = 0x02
	tlvUniqueID  = 0x05
	// tlvClient is of the range for custom use. Its value is the client's own
	// address and port, 16 and 2 bytes, where the header has its pool address.
	tlvClient = 0xE0
)

// An introduction is who a backend is told that the client is.
type introduction struct {
	network string         // "tcp" or "udp"
	client  netip.AddrPort // canonical
	local   netip.AddrPort // where the client connected to
	pooled  *pool.Lease    // its pool address; nil: none
	hello   sni.Hello      // of its TLS; zero: not looked at
	id      []byte         // unique to the connection
}

// preamble is a PROXY header of nobody, as announce wants it: the backend takes the
// connection for our own (proxy-protocol.txt §2.1 UNKNOWN, §2.2 LOCAL).
func preamble(announce []string) string {
	if len(announce) == 0 {
		return ""
	}
	if announce[0] == "proxy-v2" {
		return "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	}
	return "PROXY UNKNOWN\r\n"
}

// newID makes a connection's unique id, 16 bytes.
func newID() []byte {
	id := make([]byte, 16)
	rand.Read(id)
	return id
}

// header gives the bytes that announce who, in the way that f wants; none if
// f announces nothing.
func (f *forward) header(who introduction) ([]byte, error) {
	if len(f.Announce) == 0 || f.Announce[0] == "xclient" {
		return nil, nil
	}
	version := 1
	var tlvs []proxyproto.TLV
	source := who.client
	if f.AnnounceAddress == "pool" && who.pooled != nil && source.Addr().Is6() {
		source = netip.AddrPortFrom(who.pooled.Addr, source.Port())
	}
	if f.Announce[0] == "proxy-v2" {
		version = 2
		tlvs = who.tlvs(source != who.client)
	}
	header, err := proxyproto.Append(nil, version, source, who.local, tlvs...)
	if err == nil && version == 2 && who.network == "udp" {
		header[13] = header[13]&0xf0 | 2 // §2.2: DGRAM in the place of STREAM
	}
	return header, err
}

func (who introduction) tlvs(hidden bool) []proxyproto.TLV {
	tlvs := []proxyproto.TLV{{Type: tlvUniqueID, Value: who.id}}
	if who.hello.Name != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: tlvAuthority, Value: []byte(who.hello.Name)})
	}
	if len(who.hello.ALPN) > 0 && strings.Join(who.hello.ALPN, "") != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: tlvALPN, Value: []byte(who.hello.ALPN[0])})
	}
	if hidden {
		real := who.client.Addr().As16()
		tlvs = append(tlvs, proxyproto.TLV{Type: tlvClient, Value: binary.BigEndian.AppendUint16(real[:], who.client.Port())})
	}
	return tlvs
}

// needsPool tells that f uses the address of client in its pool, whatever the
// socket's source is.
func (f *forward) needsPool(client acl.Addr) bool {
	return f.AnnounceAddress == "pool" && len(f.Announce) > 0 && !client.Is4()
}
