// Bench compares Genkan with the proxies that people use instead, side by side.
//
//	go run ./integration/bench           all rows, ten minutes
//	go run ./integration/bench -quick    all rows, half a minute: a smoke test
//	go run ./integration/bench -http     HTTP instead of TCP and UDP
//	go run ./integration/bench -tunnel   the tunnel's datapaths, plain IP and VXLAN
//
//	load ──[::1]──▶ contestant ──127.0.0.1──▶ backend
//
// Everything is on loopback and shares the cores, so a figure says what a thing
// costs here, not what a machine can do: only ratios of one run mean something.
// Rounds are interleaved, and the median of a contestant's rounds counts.
//
// Each contestant and the backend run in a session of their own: the kernel's
// autogroup scheduling shares the CPU by session, so a proxy in the benchmark's
// session would compete with the load and look 1.5 times worse. CPU is user and
// system time of all processes of the session, dead children included.
package main
