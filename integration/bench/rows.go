package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A row is one measurement that every contestant goes through. Its columns are
// what it yields.
type row struct {
	columns []column
	rounds  int
	fits    func(*contestant) bool // nil: all
	measure func(*contestant) ([]float64, error)
}

// A column of a row is one line of the report.
type column struct {
	name  string
	unit  string
	bound float64 // Genkan's ratio to the best peer that is wanted; 0: shown only
	less  bool    // less is better
}

// A plan says how thorough a run is.
type plan struct {
	rounds  int
	time    time.Duration // of one measurement
	idle    int           // connections
	clients int
}

func l4Rows(p plan, half float64) []row {
	bulkRow := func(conns int) row {
		return row{
			columns: []column{
				{fmt.Sprintf("bulk, %d connections", conns), "Gb/s", 1, false},
				{fmt.Sprintf("bulk, %d connections", conns), "CPU ms/GB", 1, true},
			},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) { return measureBulk(c, conns, p.time) },
		}
	}
	return []row{
		{
			columns: []column{{"exchange", "µs CPU", 1, true}, {"exchange", "1/s", 1, false}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) {
				return measureRate(c, func() (tally, error) {
					return exchange(c.listen, drive{unix.SOCK_STREAM, p.clients, p.time, 0})
				})
			},
		},
		{
			columns: []column{{"half load", "µs CPU", 1, true}, {"half load, p50", "µs", 1, true}, {"half load, p99", "µs", 1, true}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) { return measureLatency(c, p, half) },
		},
		{
			columns: []column{{"new connection", "µs CPU", 1, true}, {"new connection", "1/s", 1, false}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) {
				return measureRate(c, func() (tally, error) { return reconnect(c.listen, p.clients, p.time) })
			},
		},
		bulkRow(1),
		bulkRow(16),
		bulkRow(256),
		{
			columns: []column{{"UDP datagram and answer", "µs CPU", 1, true}, {"UDP datagram and answer", "1/s", 1, false}},
			rounds:  p.rounds,
			fits:    func(c *contestant) bool { return c.udp },
			measure: func(c *contestant) ([]float64, error) {
				return measureRate(c, func() (tally, error) {
					return exchange(c.listen, drive{unix.SOCK_DGRAM, p.clients, p.time, 0})
				})
			},
		},
		{
			columns: []column{{fmt.Sprintf("idle connection, of %d", p.idle), "KiB", 0.5, true}},
			rounds:  1,
			fits:    func(c *contestant) bool { return !c.forks },
			measure: func(c *contestant) ([]float64, error) { return measureIdle(c, p.idle) },
		},
	}
}

// measureRate returns CPU in µs an exchange, and exchanges a second.
func measureRate(c *contestant, run func() (tally, error)) ([]float64, error) {
	before, err := c.session().cpu()
	if err != nil {
		return nil, err
	}
	t, err := run()
	if err != nil {
		return nil, err
	}
	after, err := c.session().cpu()
	if err != nil {
		return nil, err
	}
	if t.exchanges == 0 || t.failures > t.exchanges/1000 {
		return nil, fmt.Errorf("%d exchanges failed, %d did not", t.failures, t.exchanges)
	}
	n := float64(t.exchanges)
	return []float64{float64((after - before).Nanoseconds()) / 1e3 / n, n / t.elapsed.Seconds()}, nil
}

func measureLatency(c *contestant, p plan, rate float64) ([]float64, error) {
	var t tally
	cost, err := measureRate(c, func() (tally, error) {
		var err error
		t, err = exchange(c.listen, drive{unix.SOCK_STREAM, p.clients, p.time, rate})
		return t, err
	})
	if err != nil {
		return nil, err
	}
	return []float64{cost[0], float64(t.p50.Nanoseconds()) / 1e3, float64(t.p99.Nanoseconds()) / 1e3}, nil
}

func measureBulk(c *contestant, conns int, d time.Duration) ([]float64, error) {
	before, err := c.session().cpu()
	if err != nil {
		return nil, err
	}
	n, took, err := bulk(c.listen, conns, d)
	if err != nil {
		return nil, err
	}
	after, err := c.session().cpu()
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("no byte came in %v", took)
	}
	gb := float64(n) / 1e9
	return []float64{gb * 8 / took.Seconds(), float64((after - before).Milliseconds()) / gb}, nil
}

// measureIdle returns the KiB that n connections cost which have exchanged once.
func measureIdle(c *contestant, n int) ([]float64, error) {
	before, err := c.session().memory()
	if err != nil {
		return nil, err
	}
	l, err := newLoad(c.listen)
	if err != nil {
		return nil, err
	}
	defer l.close()
	for range n {
		s, err := l.open(unix.SOCK_STREAM, onBytes)
		if err != nil {
			return nil, err
		}
		l.send(s, time.Now())
	}
	events := make([]unix.EpollEvent, 256)
	for deadline := time.Now().Add(30 * time.Second); l.done < n; {
		if l.failed > 0 || time.Now().After(deadline) {
			return nil, fmt.Errorf("of %d connections %d exchanged once", n, l.done)
		}
		l.answers(l.wait(events, deadline), false)
	}
	after, err := c.session().memory()
	if err != nil {
		return nil, err
	}
	return []float64{float64(after-before) / 1024 / float64(n)}, nil
}
