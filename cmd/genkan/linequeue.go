package main

import (
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a lineQueue.
const (
	queuedLines = 4096
	flushWait   = time.Second          // how long Close waits for a slow reader
	gatherWait  = 5 * time.Millisecond // how long a line may wait for more, after others
	gatherBytes = 32 << 10             // of one write, but for a longer line
)

// A lineQueue writes lines from a goroutine of its own. Where the reader is too
// slow for them they are lost, and the log tells how many: a log must not hold
// up what it tells of. A line is written at once, those that follow closely
// together: to wake a goroutine, and the reader, for each would cost more than
// all else in the life of a short connection's log line.
type lineQueue struct {
	out   io.Writer
	log   *slog.Logger // writes to out itself
	lines chan []byte
	lost  atomic.Int64
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newLineQueue(out io.Writer, log *slog.Logger) *lineQueue {
	q := &lineQueue{out: out, log: log, lines: make(chan []byte, queuedLines), quit: make(chan struct{}), done: make(chan struct{})}
	go q.run()
	return q
}

// Write takes one line. It does not wait and cannot fail.
func (q *lineQueue) Write(line []byte) (int, error) {
	select {
	case q.lines <- append([]byte(nil), line...):
	default:
		q.lost.Add(1)
	}
	return len(line), nil
}

// Close writes what is queued, as far as the reader takes it within flushWait.
func (q *lineQueue) Close() {
	q.once.Do(func() { close(q.quit) })
	timer := time.NewTimer(flushWait)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
}

func (q *lineQueue) run() {
	defer close(q.done)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case line := <-q.lines:
			q.write(line)
		case <-q.quit:
			for range len(q.lines) {
				if len(q.lines) > 0 { // a write takes many
					q.write(<-q.lines)
				}
			}
			return
		}
		if len(q.lines) > 0 {
			continue // more than one write takes
		}
		pause.Reset(gatherWait)
		select {
		case <-pause.C:
		case <-q.quit:
		}
	}
}

// write writes a line and those that are queued behind it, and tells of those
// that were lost before it could.
func (q *lineQueue) write(text []byte) {
	for len(text) < gatherBytes && len(q.lines) > 0 {
		text = append(text, <-q.lines...)
	}
	_, _ = q.out.Write(text) // there is nowhere else to tell it
	if n := q.lost.Swap(0); n > 0 {
		q.log.Warn("log lines lost: their reader is too slow", "lines", n)
	}
}
