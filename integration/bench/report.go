package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A result is what one contestant reached in one column. Zero: nothing.
type result struct {
	value float64
	why   error // why there is nothing
}

// median returns the median of each column over the rounds.
func median(rounds [][]float64, columns int) []float64 {
	m := make([]float64, columns)
	for i := range m {
		var all []float64
		for _, r := range rounds {
			all = append(all, r[i])
		}
		slices.Sort(all)
		m[i] = all[len(all)/2]
	}
	return m
}

// best returns the best of the peers: all but the first.
func best(col column, results []result) float64 {
	var b float64
	for _, r := range results[1:] {
		if r.value == 0 {
			continue
		}
		if b == 0 || (r.value < b) == col.less {
			b = r.value
		}
	}
	return b
}

// writeHead and writeLine print a Markdown table.
func writeHead(w io.Writer, names []string) {
	fmt.Fprintf(w, "| | unit | %s | %s ÷ best peer | wanted |\n", strings.Join(names, " | "), names[0])
	fmt.Fprintf(w, "|---|---|%s---:|---|\n", strings.Repeat("---:|", len(names)))
}

func writeLine(w io.Writer, col column, results []result) {
	fmt.Fprintf(w, "| %s | %s |", col.name, col.unit)
	for _, r := range results {
		if r.value == 0 {
			fmt.Fprint(w, " – |")
		} else {
			fmt.Fprintf(w, " %s |", figure(r.value))
		}
	}
	peer := best(col, results)
	if results[0].value == 0 || peer == 0 {
		fmt.Fprintln(w, " – | |")
		return
	}
	ratio := results[0].value / peer
	sign, reached := "≥", ratio >= col.bound
	if col.less {
		sign, reached = "≤", ratio <= col.bound
	}
	mark := "yes"
	if !reached {
		mark = "no"
	}
	fmt.Fprintf(w, " %.2f | %s %s: %s |\n", ratio, sign, strconv.FormatFloat(col.bound, 'g', -1, 64), mark)
}

// figure prints three digits that count.
func figure(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
