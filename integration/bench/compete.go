package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// compete starts everybody, measures row by row, and prints the table.
func (o options) compete(ctx context.Context, cs []*contestant, dir, backend string, rows func() ([]row, error)) error {
	port, stop, err := startBackend(backend)
	if err != nil {
		return fmt.Errorf("backend: %w", err)
	}
	defer stop()
	var names []string
	for _, c := range cs {
		own := filepath.Join(dir, c.name)
		if err := os.Mkdir(own, 0o755); err != nil {
			return err
		}
		if err := c.start(port, own); err != nil {
			return err
		}
		defer c.stop()
		names = append(names, c.name)
	}
	all, err := rows()
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d rounds of %v, %d clients.\n\n", cores(), o.rounds, o.time, o.clients)
	writeHead(os.Stdout, names)
	var failed error
	for _, r := range all {
		if !o.chosen(r.columns[0].name) {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		results, errs := r.run(cs)
		for i, col := range r.columns {
			writeLine(os.Stdout, col, cs, results[i])
		}
		for i, err := range errs {
			if err == nil {
				continue
			}
			err = fmt.Errorf("%s: %s: %w", r.columns[0].name, cs[i].name, err)
			if cs[i].peer() {
				fmt.Fprintln(os.Stderr, "bench:", err)
			} else {
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

// run measures each contestant in turn, as often as the row wants. It returns
// the results by column and contestant, and each contestant's last error.
func (r row) run(cs []*contestant) ([][]result, []error) {
	results := make([][]result, len(r.columns))
	for i := range results {
		results[i] = make([]result, len(cs))
	}
	errs := make([]error, len(cs))
	for range r.rounds {
		for i, c := range cs {
			if r.fits != nil && !r.fits(c) {
				continue
			}
			figures, err := r.measure(c)
			if err != nil {
				errs[i] = err
				figures = make([]float64, len(r.columns))
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
	return results, errs
}
