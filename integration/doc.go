// Package integration proves Genkan whole: the built program in the network
// of package lab, with real servers from Debian packages behind it and real
// clients in front, IPv6-only and IPv4-only. Its tests need root.
//
// A test skips only for a named missing thing; with GENKAN_REQUIRE=all that
// is a failure.
package integration
