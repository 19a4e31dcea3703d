// Package web is the HTTP policy of a site, apart from any HTTP engine: which
// site a host name means, which header fields a client may not send, and which
// fields tell the backend who the client is.
//
//	site, ok := table.Find(host)                         // else 421
//	… drop each field with web.Claims(name) …
//	… add web.Identity{…}.AppendTo(fields, site.Announce) …
//
// All of it works on strings and small structs, for net/http and for an engine
// of our own alike.
package web
