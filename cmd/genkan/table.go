package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// printTable writes rows in columns, the first row above the others.
func printTable(out io.Writer, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// Colours of a terminal (ECMA-48, SGR).
const (
	red    = "31"
	yellow = "33"
	green  = "32"
)

// coloured is a text in a colour, where out is a terminal and nobody said NO_COLOR. In a table it is for the last column:
// what colours it has a width, too.
func coloured(out io.Writer, colour, text string) string {
	if !isTerminal(out) || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// bytesOf spells a number of bytes for people.
func bytesOf(n int64) string {
	const units = "KMGTPE"
	if n < 1000 {
		return itoa(int(n)) + " B"
	}
	value, unit := float64(n), -1
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g %cB", value, units[unit])
}
