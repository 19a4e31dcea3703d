// Package dns keeps DNS over UDP within what the path to an IPv6 client takes.
// It changes datagrams in place and allocates nothing:
//
//	limit := dns.Clamp(query, dns.PathLimit) // the server is offered no more
//	…
//	answer = dns.Fit(answer, limit)          // what is larger yet says TC=1
//
// A fragment of IPv6 is lost on many paths, and the first answer of more than
// a path's MTU on any (RFC 8200 §5, RFC 8900). Answers that fit are never
// fragments; the client of one that does not fit asks again over TCP at once.
//
// What is signed (TSIG, RFC 8945; SIG(0), RFC 2931) or no DNS is left alone.
package dns
