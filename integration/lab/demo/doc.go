// Package demo is "genkan demo": it builds the lab, puts a small web
// application that knows only IPv4 behind Genkan, visits it as an IPv6-only
// client, an IPv4 client and a client on the deny list, and tells what
// happened at each hop. What it tells is observed, not assumed: the packet on
// the IPv4 wire, the rule by "genkan explain", the request at the application.
package demo
