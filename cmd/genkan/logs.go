package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// logFlags are --log-format and --log-level.
type logFlags struct{ format, level string }

func (f *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "log-format", "auto", "`text, json or auto`: text on a terminal")
	cmd.Flags().StringVar(&f.level, "log-level", "info", "`debug, info, warn or error`")
}

// logger writes one line an event to out, and never waits for out's reader:
// lines are written on the loops that carry the traffic. What is logged goes to
// hub, too, unless it is nil. Call close at the end.
func (f *logFlags) logger(out io.Writer, hub *logHub) (log *slog.Logger, close func(), err error) {
	options := slog.HandlerOptions{ReplaceAttr: readable}
	switch f.level {
	case "debug":
		options.Level = slog.LevelDebug
	case "info":
		options.Level = slog.LevelInfo
	case "warn":
		options.Level = slog.LevelWarn
	case "error":
		options.Level = slog.LevelError
	default:
		return nil, nil, usagef("--log-level %q: write debug, info, warn or error", f.level)
	}
	handler := func(to io.Writer) slog.Handler { return slog.NewJSONHandler(to, &options) }
	switch {
	case f.format == "text", f.format == "auto" && isTerminal(out):
		handler = func(to io.Writer) slog.Handler { return slog.NewTextHandler(to, &options) }
	case f.format != "json" && f.format != "auto":
		return nil, nil, usagef("--log-format %q: write text, json or auto", f.format)
	}
	lines := newLineQueue(out, slog.New(handler(out)))
	if hub == nil {
		return slog.New(handler(lines)), lines.Close, nil
	}
	return slog.New(slog.NewMultiHandler(handler(lines), hub.handler(&options))), lines.Close, nil
}

// readable spells durations as people do, in JSON too, which has nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream io.Writer) bool {
	f, ok := underlying(stream).(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
