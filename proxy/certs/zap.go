package certs

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newZap is a logger for certmagic that writes to log. What is news to it is
// detail here: our own lines tell of orders and certificates, and of failures.
func newZap(log *slog.Logger) *zap.Logger {
	return zap.New(&bridge{handler: log.Handler()})
}

// A bridge is a zapcore.Core in front of a slog.Handler.
type bridge struct {
	handler slog.Handler
}

func level(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Enabled tells whether anybody reads lines of the level.
func (b *bridge) Enabled(l zapcore.Level) bool {
	return b.handler.Enabled(context.Background(), level(l))
}

// With gives a bridge whose lines all have the fields.
func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{handler: b.handler.WithAttrs(attrs(fields))}
}

// Check says that the bridge writes the entry.
func (b *bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	switch e.Message {
	case "could not get certificate from issuer", "job failed":
		return ce // our own line about an order that fails says more
	}
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

// Write writes an entry.
func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, level(e.Level), "certificates: "+e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return b.handler.Handle(context.Background(), r)
}

// Sync has nothing to wait for.
func (b *bridge) Sync() error { return nil }

// attrs translates fields by zap's own encoder, which knows them all.
func attrs(fields []zapcore.Field) []slog.Attr {
	var all []slog.Attr
	for _, f := range fields {
		m := zapcore.NewMapObjectEncoder()
		f.AddTo(m)
		for name, value := range m.Fields {
			all = append(all, slog.Any(name, value))
		}
	}
	return all
}

// A quieter hands on what acmez logs at debug level: its warnings are of
// requests that it tries again, and what fails in the end is an error to us.
type quieter struct{ slog.Handler }

// Handle lowers the level of a record.
func (q quieter) Handle(ctx context.Context, r slog.Record) error {
	if !q.Handler.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

// WithAttrs stays quiet.
func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}

// WithGroup stays quiet.
func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }
