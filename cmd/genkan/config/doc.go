// Package config reads Genkan's configuration file.
//
//	plan, err := config.Load("/etc/genkan/genkan.toml")   // err: all mistakes at once, one a line
//
//	file ─ parse ─▶ tree of values, each with its place   (parse.go, traps.go: what people get wrong, by name)
//	     ─ decode ▶ Config: one struct a table            (service.go, network.go: the keys and what they mean)
//	     ─ check ─▶ mistakes between values               (meaning.go, relay.go, loop.go)
//	     ─ build ─▶ Plan: tunnel.Config, proxy.Config     (build.go)
//
// Nothing here needs the network or a privilege. A mistake reads "FILE:LINE:COL: what is wrong; what to write";
// columns count bytes from 1. Reading goes on after a mistake, so that one run shows them all.
package config
