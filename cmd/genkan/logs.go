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

// logger writes one line an event to out.
func (f *logFlags) logger(out io.Writer) (*slog.Logger, error) {
	var options slog.HandlerOptions
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
		return nil, usagef("--log-level %q: write debug, info, warn or error", f.level)
	}
	switch {
	case f.format == "text", f.format == "auto" && isTerminal(out):
		return slog.New(slog.NewTextHandler(out, &options)), nil
	case f.format == "json", f.format == "auto":
		return slog.New(slog.NewJSONHandler(out, &options)), nil
	}
	return nil, usagef("--log-format %q: write text, json or auto", f.format)
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream io.Writer) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
