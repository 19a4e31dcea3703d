// Crowd is both ends of many TCP connections at once, which compare every byte.
//
//	crowd serve ADDRESS BYTES
//	crowd ask BYTES ADDRESS=CONNECTIONS…
//
//	ask                 relay under test                serve
//	 ├── number ───────────────▶ ─────────────────────────▶ ┤
//	 │◀───────────────────────── ◀───────────────── one byte ┤
//	 │        … until all have said so, then all at once:    │
//	 ├── bytes of that number ──▶ ────────────────────────▶  ┤
//	 │◀───────────────────────── ◀─── bytes of that number ──┤
//
// Ask gives each connection a number; what either end then says, how much of it
// (1 to 2×BYTES) and in what chunks follows from that number. So both know what
// must come, and that after it the other's end must come.
//
// It is a program of its own, since 10,000 connections of both ends and of what
// lies between are more descriptors than most machines let one process have.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// patience bounds each step of a connection; a busy machine needs a tenth.
const patience = 5 * time.Minute

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 3 && args[0] == "serve" {
		size, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return serve(args[1], size)
	}
	if len(args) >= 3 && args[0] == "ask" {
		size, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return ask(size, args[2:])
	}
	return fmt.Errorf("%q: write serve ADDRESS BYTES, or ask BYTES ADDRESS=CONNECTIONS…", args)
}
