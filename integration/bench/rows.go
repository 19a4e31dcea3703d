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
			measure: func(c *contestant) ([]float64, error) { return measureBulk(bulk(c, conns, p.time)) },
		}
	}
	return []row{
		{ // first, as it is the memory of a young process
			columns: []column{{fmt.Sprintf("idle connection, of %d", p.idle), "KiB", 0.5, true}},
			rounds:  1,
			fits:    func(c *contestant) bool { return !c.forks },
			measure: func(c *contestant) ([]float64, error) { return measureIdle(c, p.idle) },
		},
		{
			columns: []column{{"exchange", "µs CPU", 1, true}, {"exchange", "1/s", 1, false}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) {
				return measureRate(exchange(c, drive{unix.SOCK_STREAM, p.clients, p.time, 0}))
			},
		},
		{
			columns: []column{{fmt.Sprintf("half load, %.0f/s", half), "µs CPU", 1, true}, {"half load, p50", "µs", 1, true}, {"half load, p99", "µs", 1, true}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) {
				return measureLatency(exchange(c, drive{unix.SOCK_STREAM, p.clients, p.time, half}))
			},
		},
		{
			columns: []column{{"new connection", "µs CPU", 1, true}, {"new connection", "1/s", 1, false}},
			rounds:  p.rounds,
			measure: func(c *contestant) ([]float64, error) {
				return measureRate(reconnect(c, p.clients, p.time))
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
				return measureRate(exchange(c, drive{unix.SOCK_DGRAM, p.clients, p.time, 0}))
			},
		},
	}
}

// measureRate returns CPU in µs an exchange, and exchanges a second.
func measureRate(t tally, err error) ([]float64, error) {
	if err == nil && (t.exchanges == 0 || t.failures > t.exchanges/1000) {
		err = fmt.Errorf("%d exchanges failed, %d did not", t.failures, t.exchanges)
	}
	if err != nil {
		return nil, err
	}
	n := float64(t.exchanges)
	return []float64{micro(t.cpu) / n, n / t.elapsed.Seconds()}, nil
}

func measureLatency(t tally, err error) ([]float64, error) {
	cost, err := measureRate(t, err)
	if err != nil {
		return nil, err
	}
	return []float64{cost[0], micro(t.p50), micro(t.p99)}, nil
}

func measureBulk(t tally, err error) ([]float64, error) {
	if err == nil && t.bytes == 0 {
		err = fmt.Errorf("no byte came in %v", t.elapsed)
	}
	if err != nil {
		return nil, err
	}
	gb := float64(t.bytes) / 1e9
	return []float64{gb * 8 / t.elapsed.Seconds(), micro(t.cpu) / 1e3 / gb}, nil
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// measureIdle returns the KiB that n connections cost which have exchanged once.
func measureIdle(c *contestant, n int) ([]float64, error) {
	before, err := c.session().memory()
	if err != nil {
		return nil, err
	}
	l, err := newLoad(c)
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

// halfLoad returns half the exchanges a second that the best peer reaches.
func halfLoad(cs []*contestant, p plan) (float64, error) {
	var top float64
	for _, c := range cs {
		t, err := exchange(c, drive{unix.SOCK_STREAM, p.clients, p.time, 0})
		if err != nil {
			return 0, fmt.Errorf("%s: %w", c.name, err)
		}
		top = max(top, float64(t.exchanges)/t.elapsed.Seconds())
	}
	return top / 2, nil
}
