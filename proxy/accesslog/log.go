package accesslog

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Log.
const (
	maxQueued = 4 << 20               // bytes that wait to be written
	maxLine   = 64_000                // bytes of one line: a datagram of syslog
	gather    = 20 * time.Millisecond // how long a first line waits for others
	patience  = time.Second           // for a reader that is slow, at the end
	tellEvery = 10 * time.Second      // between two complaints
)

// Options are what a Log needs besides its Spec.
type Options struct {
	Front  string       // the name of this machine, in JSON and syslog
	Stdout io.Writer    // of To "stdout"; nil discards
	Log    *slog.Logger // of what is lost; nil discards
}

// A Log writes entries to one place. Use Open; Close ends it.
type Log struct {
	spec Spec
	opt  Options
	sink sink
	lost atomic.Int64 // lines, ever

	mu     sync.Mutex // guards what follows
	queue  []byte     // whole lines
	spare  []byte     // the other one of two buffers
	reopen bool
	closed bool

	wake chan struct{} // capacity 1: there is something to do
	quit chan struct{}
	done chan struct{}

	told    time.Time // of the last complaint
	toldFor int64     // lines lost then
}

// A sink is where lines go. write tells how many bytes of it arrived.
type sink interface {
	write(lines []byte) (int, error)
	reopen() error
	close()
}

// Open opens the place of spec and starts the goroutine that writes there.
func Open(spec Spec, opt Options) (*Log, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Stdout == nil {
		opt.Stdout = io.Discard
	}
	to, err := openSink(spec, opt)
	if err != nil {
		return nil, err
	}
	l := &Log{spec: spec, opt: opt, sink: to, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l, nil
}

// scratch has buffers in which lines are made.
type scratch struct{ b []byte }

// pool is of memory alone; it decides nothing.
var pool = sync.Pool{New: func() any { return &scratch{make([]byte, 0, 1024)} }}

// Write queues a line about e. It does not wait, keeps nothing of e, and does
// nothing on a nil Log.
func (l *Log) Write(e *Entry) {
	if l == nil {
		return
	}
	s := pool.Get().(*scratch)
	b := l.appendLine(s.b[:0], e)
	l.mu.Lock()
	full := len(l.queue)+len(b) > maxQueued || l.closed
	if !full {
		l.queue = append(l.queue, b...)
	}
	l.mu.Unlock()
	if s.b = b; cap(b) <= maxLine {
		pool.Put(s)
	}
	if full {
		l.lost.Add(1)
	}
	l.poke()
}

func (l *Log) appendLine(b []byte, e *Entry) []byte {
	if h, ok := l.sink.(*syslog); ok {
		b = h.appendHeader(b, e.Began)
	}
	if l.spec.Format == JSON {
		b = appendJSON(b, e, l.opt.Front)
	} else {
		b = appendCombined(b, e)
	}
	return append(b, '\n')
}

func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Lost is how many lines were lost so far.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Spec is what the Log was opened with.
func (l *Log) Spec() Spec { return l.spec }

// Reopen makes lines that are written from now on go to a file of the same
// name, which is made where it is not there. It does not wait.
func (l *Log) Reopen() {
	l.mu.Lock()
	l.reopen = true
	l.mu.Unlock()
	l.poke()
}

// Close writes what is queued, as far as that takes no longer than a second.
// It may be called any number of times.
func (l *Log) Close() {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.quit)
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C: // a reader of ours is stuck, and the writer with it
	}
}

// run writes what is queued until Close.
func (l *Log) run() {
	defer close(l.done)
	defer l.sink.close()
	for {
		select {
		case <-l.quit:
			l.flush()
			return
		case <-l.wake:
		}
		if !l.wantsReopen() {
			l.wait()
		}
		l.flush()
	}
}

// wait lets more lines come, so that they are written together.
func (l *Log) wait() {
	t := time.NewTimer(gather)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.quit:
	}
}

func (l *Log) wantsReopen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reopen
}

// flush writes what is queued now.
func (l *Log) flush() {
	l.mu.Lock()
	lines, reopen := l.queue, l.reopen
	l.queue, l.reopen = l.spare[:0], false
	l.mu.Unlock()
	var err error
	if len(lines) > 0 {
		var n int
		if n, err = l.sink.write(lines); n < len(lines) {
			l.lost.Add(int64(bytes.Count(lines[n:], []byte{'\n'})))
		}
	}
	if reopen {
		if reopenErr := l.sink.reopen(); reopenErr != nil {
			l.opt.Log.Warn("access log not opened anew: the old file goes on", "to", l.spec.To, "cause", reopenErr)
		}
	}
	l.mu.Lock()
	l.spare = lines[:0]
	l.mu.Unlock()
	l.complain(err)
}

// complain logs lines that were lost, now and then.
func (l *Log) complain(err error) {
	lost := l.lost.Load()
	if lost == l.toldFor || time.Since(l.told) < tellEvery {
		return
	}
	attrs := []any{"to", l.spec.To, "lines", lost - l.toldFor}
	if err != nil {
		attrs = append(attrs, "cause", err)
	}
	l.opt.Log.Warn("access log lines lost", attrs...)
	l.told, l.toldFor = time.Now(), lost
}
