// Package proxyproto reads and writes the PROXY protocol, versions 1 and 2
// (proxy-protocol.txt of HAProxy), strictly.
//
//	h, err := proxyproto.Read(conn, 0)
//	if err != nil {
//		return err // close: a header is required, and inexact is refused
//	}
//	client := h.Source // or the peer, when h.Local
//
// There is no guessing: a listener reads a header from every peer that its
// configuration names, and from nobody else. Whether the peer is one of these
// is the caller's question, before Read.
//
// Version 1 is read by its exact grammar. Version 2 is read by go-proxyproto,
// and what that is lenient about is checked here: the TLVs, their lengths and
// the checksum. A header that names no client (UNKNOWN, LOCAL, UNSPEC, a UNIX
// path) leaves the peer as the one whom rules judge.
package proxyproto
