package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// tunnelColumns are the figures of one path.
var tunnelColumns = []column{
	{name: "TCP, 1 stream", unit: "Gb/s"},
	{name: "TCP, 4 streams", unit: "Gb/s"},
	{name: "TCP, 1 stream, all programs", unit: "CPU ms/GB", less: true},
	{name: "UDP, 64 bytes", unit: "k/s"},
	{name: "round trip", unit: "µs", less: true},
}

const (
	oneStream = iota
	fourStreams
	cpuPerGB
	packets
	roundTrip
)

// A want is a ratio that the tunnel should reach.
type want struct {
	ours, theirs string // paths; theirs "": the figure itself
	column       int
	bound        float64
}

var wants = []want{
	{"ebpf", "plain IPv6", oneStream, 0.85},
	{"ebpf", "plain IPv4", fourStreams, 0.8},
	{"ebpf", "plain IPv4", packets, 0.65},
	{"ebpf", "VXLAN", packets, 1},
	{"userspace", "", oneStream, 2},
	{"ebpf to userspace", "", oneStream, 5},
}

var tunnelTools = []tool{{"ip", "iproute2"}, {"iperf3", "iperf3"}, {"ethtool", "ethtool"}, {"ping", "iputils-ping"}}

// benchTunnel measures the datapaths beside plain IP and VXLAN, in both link
// modes.
func (o options) benchTunnel(ctx context.Context, dir string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("-tunnel makes namespaces: it needs root")
	}
	if missing := install(tunnelTools, o.mayInstall); len(missing) > 0 {
		return fmt.Errorf("not here: %s", strings.Join(missing, ", "))
	}
	if err := sweep(); err != nil {
		return err
	}
	number := 0
	for _, wire := range []bool{false, true} {
		var pairs []*pair
		for _, way := range paths(o.genkan) {
			if !o.chosen(way.name) {
				continue
			}
			number++
			pair, err := newPair(ctx, number, way, wire, dir)
			if err == nil {
				defer pair.close()
				pairs = append(pairs, pair)
			} else if ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		mode := "Offload: packets of up to 64 KiB cross the link whole."
		if wire {
			mode = "Wire-like: packets are cut to 1500 bytes before the link and merged after it."
		}
		fmt.Printf("\n%s %d rounds of %v; both ends and iperf3 share %s.\n\n", mode, o.rounds, o.time, cores())
		writeTunnel(os.Stdout, pairs, measurePaths(pairs, o.plan))
	}
	return nil
}

// measurePaths returns results by column and pair, rounds interleaved.
func measurePaths(pairs []*pair, p plan) [][]result {
	results := make([][]result, len(tunnelColumns))
	for i := range results {
		results[i] = make([]result, len(pairs))
	}
	for range p.rounds {
		for i, pair := range pairs {
			figures, err := pair.measure(p.time)
			if err != nil {
				fmt.Fprintf(os.Stderr, "bench: %s: %v\n", pair.name, err)
				figures = make([]float64, len(tunnelColumns))
			}
			for k, v := range figures {
				results[k][i].rounds = append(results[k][i].rounds, v)
			}
		}
	}
	for k := range results {
		for i := range results[k] {
			results[k][i].value = median(results[k][i].rounds)
		}
	}
	return results
}

// measure goes through all columns once.
func (p *pair) measure(d time.Duration) ([]float64, error) {
	before, err := busy()
	if err != nil {
		return nil, err
	}
	one, err := p.iperf(d, "-C", "cubic")
	if err != nil {
		return nil, err
	}
	after, err := busy()
	if err != nil {
		return nil, err
	}
	four, err := p.iperf(d, "-C", "cubic", "-P", "4")
	if err != nil {
		return nil, err
	}
	small, err := p.iperf(d, "-u", "-b", "0", "-l", "64")
	if err != nil {
		return nil, err
	}
	trip, err := p.ping()
	if err != nil {
		return nil, err
	}
	return []float64{
		one.End.SumReceived.Bits / 1e9,
		four.End.SumReceived.Bits / 1e9,
		float64((after - before).Milliseconds()) / (one.End.SumReceived.Bytes / 1e9),
		(small.End.Sum.Packets - small.End.Sum.Lost) / small.End.Sum.Seconds / 1000,
		trip,
	}, nil
}

// writeTunnel prints the figures, then the ratios that are wanted.
func writeTunnel(w io.Writer, pairs []*pair, results [][]result) {
	fmt.Fprint(w, "| | unit |")
	for _, p := range pairs {
		fmt.Fprintf(w, " %s |", p.name)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("---:|", len(pairs)))
	for k, col := range tunnelColumns {
		fmt.Fprintf(w, "| %s | %s |", col.name, col.unit)
		for _, r := range results[k] {
			fmt.Fprintf(w, " %s |", figure(r.value))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "\n| | | wanted |\n|---|---:|---|\n")
	for _, want := range wants {
		ours, theirs := find(pairs, results[want.column], want.ours), find(pairs, results[want.column], want.theirs)
		what, got := tunnelColumns[want.column].unit, 0.0
		switch {
		case ours == nil || (theirs == nil && want.theirs != ""):
			continue
		case theirs == nil:
			got = ours.value
		default:
			what, got = "÷ "+want.theirs, ratio(*ours, *theirs)
		}
		reached := "yes"
		if got < want.bound {
			reached = "no"
		}
		fmt.Fprintf(w, "| %s, %s, %s | %s | ≥ %v: %s |\n", want.ours, tunnelColumns[want.column].name, what, figure(got), want.bound, reached)
	}
}

func find(pairs []*pair, results []result, name string) *result {
	for i, p := range pairs {
		if p.name == name {
			return &results[i]
		}
	}
	return nil
}

// busy returns the time that the machine's cores have worked so far: whatever
// runs beside counts too.
func busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var ticks int64
	for i, f := range strings.Fields(line)[1:] {
		if i == 3 || i == 4 || i >= 8 { // idle, iowait; guests are in user already
			continue
		}
		n, _ := strconv.ParseInt(f, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}
