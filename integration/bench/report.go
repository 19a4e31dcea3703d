package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A result is what one contestant reached in one column.
type result struct {
	value  float64   // the median of rounds; 0: nothing
	rounds []float64 // 0 where a round failed
}

func median(all []float64) float64 {
	all = slices.DeleteFunc(slices.Clone(all), func(v float64) bool { return v == 0 })
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// best returns the best of the peers, nil when no peer has a result.
func best(col column, cs []*contestant, results []result) *result {
	var b *result
	for i := range results {
		r := &results[i]
		if !cs[i].peer() || r.value == 0 {
			continue
		}
		if b == nil || (r.value < b.value) == col.less {
			b = r
		}
	}
	return b
}

// ratio compares within each round, whose measurements are neighbours in time:
// what else the machine does meanwhile then hits both.
func ratio(ours, peer result) float64 {
	var all []float64
	for i, v := range ours.rounds {
		if i < len(peer.rounds) && peer.rounds[i] != 0 {
			all = append(all, v/peer.rounds[i])
		}
	}
	return median(all)
}

// writeHead and writeLine print a Markdown table.
func writeHead(w io.Writer, names []string) {
	fmt.Fprintf(w, "| | unit | %s | %s ÷ best peer | wanted |\n", strings.Join(names, " | "), names[0])
	fmt.Fprintf(w, "|---|---|%s---:|---|\n", strings.Repeat("---:|", len(names)))
}

func writeLine(w io.Writer, col column, cs []*contestant, results []result) {
	fmt.Fprintf(w, "| %s | %s |", col.name, col.unit)
	for _, r := range results {
		if r.value == 0 {
			fmt.Fprint(w, " – |")
		} else {
			fmt.Fprintf(w, " %s |", figure(r.value))
		}
	}
	peer := best(col, cs, results)
	if results[0].value == 0 || peer == nil {
		fmt.Fprintln(w, " – | |")
		return
	}
	got := ratio(results[0], *peer)
	if col.bound == 0 {
		fmt.Fprintf(w, " %.2f | |\n", got)
		return
	}
	sign, reached := "≥", got >= col.bound
	if col.less {
		sign, reached = "≤", got <= col.bound
	}
	mark := "yes"
	if !reached {
		mark = "no"
	}
	fmt.Fprintf(w, " %.2f | %s %s: %s |\n", got, sign, strconv.FormatFloat(col.bound, 'g', -1, 64), mark)
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
