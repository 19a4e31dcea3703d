// Package ftp is an application-level gateway for FTP: clients of either
// family use an IPv4-only server (RFC 959, 2428, 6384).
//
//	hub := ftp.NewHub(ftp.Ports{First: 50000, Last: 50099})
//	…
//	result := ftp.Serve(ctx, ftp.Config{Client: client, Server: server, Hub: hub, …})
//
// FTP names addresses and ports in its control connection, for a second one
// that carries the data. The gateway reads the few commands and replies that
// do so, and writes them anew for the other side:
//
//	client                       gateway                          server
//	EPSV ──────────────────────► EPSV 1 ──────────────────────────►
//	◄─ 229 (|||50003|) ────────── a port of the Hub ◄── 229 (|||50008|)
//	EPRT |2|2001:db8:1::10|50047| ► EPRT |1|100.64.0.1|51187| ─────►
//
// All else passes unchanged: command.go and reply.go say what is read,
// session.go keeps commands and replies in step, data.go and hub.go make the
// data connections. Data is exchanged only with the two ends of the control
// connection: a client that names somebody else's address is refused (RFC 2577
// §3, the bounce attack), and who connects to a port that was not told to him
// is cut off (§8, port stealing). A line in which some server could find another
// command than the gateway does is refused, and Telnet's part of it ends here.
//
// With Config.TLS, TLS of clients ends here and the server speaks plain (RFC
// 4217, secure.go): AUTH, PBSZ and PROT are answered by the gateway, and data
// has TLS in both modes. Without it, AUTH is between client and server, and the
// gateway is blind from then on: it leads a client's connection to port P of
// the Hub to port P of the server, so a passive range that server and Hub share
// goes on working; the active mode does not.
package ftp
