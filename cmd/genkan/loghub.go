package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a logHub.
const (
	mostLogListeners = 8
	heardLines       = 1024 // that wait for one listener
)

// A logHub gives the lines of the log, in JSON, to those who listen just now. It costs nothing while nobody does, and
// waits for nobody: a slow listener loses lines, and is told how many. The zero logHub is ready.
type logHub struct {
	hearing atomic.Int32 // listeners

	mu        sync.Mutex // guards listeners
	listeners map[*logListener]struct{}
}

// A logListener is one who listens.
type logListener struct {
	lines chan []byte
	lost  atomic.Int64
}

// handler is what a logger writes to for the hub's listeners.
func (h *logHub) handler(options *slog.HandlerOptions) slog.Handler {
	return heard{slog.NewJSONHandler(h, options), h}
}

// heard is a handler that is off while nobody listens.
type heard struct {
	slog.Handler
	hub *logHub
}

func (h heard) Enabled(ctx context.Context, level slog.Level) bool {
	return h.hub.hearing.Load() > 0 && h.Handler.Enabled(ctx, level)
}

func (h heard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return heard{h.Handler.WithAttrs(attrs), h.hub}
}

func (h heard) WithGroup(name string) slog.Handler { return heard{h.Handler.WithGroup(name), h.hub} }

// Write gives a line to all listeners.
func (h *logHub) Write(line []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := append([]byte(nil), line...)
	for l := range h.listeners {
		select {
		case l.lines <- text:
		default:
			l.lost.Add(1)
		}
	}
	return len(line), nil
}

// listen lets one more listen, unless there are too many. The caller calls leave.
func (h *logHub) listen() (l *logListener, leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) >= mostLogListeners {
		return nil, nil, false
	}
	if h.listeners == nil {
		h.listeners = map[*logListener]struct{}{}
	}
	l = &logListener{lines: make(chan []byte, heardLines)}
	h.listeners[l] = struct{}{}
	h.hearing.Add(1)
	return l, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, l)
		h.hearing.Add(-1)
	}, true
}

// A lostLines is the line that stands for those that a listener has lost.
type lostLines struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Msg   string    `json:"msg"`
	Lines int64     `json:"lines"`
}

// answerLogs streams the log, one JSON object a line, until the listener leaves or this front ends.
func (f *front) answerLogs(w http.ResponseWriter, r *http.Request) {
	if f.logs == nil {
		answer(w, nil, refuse(http.StatusNotFound, "this process has no log to listen to"))
		return
	}
	l, leave, ok := f.logs.listen()
	if !ok {
		answer(w, nil, refuse(http.StatusTooManyRequests, "%d listen already, which is the most", mostLogListeners))
		return
	}
	defer leave()
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	send := func(line []byte) error {
		_ = control.SetWriteDeadline(time.Now().Add(controlPatience)) // without it the usual one holds
		if _, err := w.Write(line); err != nil {
			return err
		}
		return control.Flush()
	}
	err := send(nil)
	for err == nil {
		select {
		case line := <-l.lines:
			err = send(line)
		case <-r.Context().Done():
			return
		case <-f.ended:
			return
		}
		if n := l.lost.Swap(0); n > 0 && err == nil {
			text, _ := json.Marshal(lostLines{time.Now(), "WARN", "log lines lost: their reader is too slow", n})
			err = send(append(text, '\n'))
		}
	}
}
