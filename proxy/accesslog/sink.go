package accesslog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// openSink opens the place of spec.
func openSink(spec Spec, opt Options) (sink, error) {
	if err := CheckTo(spec.To); err != nil {
		return nil, fmt.Errorf("access log %w", err)
	}
	if address, ok := strings.CutPrefix(spec.To, "syslog"); ok {
		return openSyslog(strings.TrimPrefix(address, ":"), opt.Front)
	}
	if spec.To == "stdout" {
		return stream{opt.Stdout}, nil
	}
	f := &file{path: spec.To}
	if err := f.reopen(); err != nil {
		return nil, err
	}
	return f, nil
}

// A stream is standard output.
type stream struct{ out io.Writer }

func (s stream) write(lines []byte) (int, error) { return s.out.Write(lines) }
func (s stream) reopen() error                   { return nil }
func (s stream) close()                          {}

// A file is appended to.
type file struct {
	path string
	f    *os.File
	half bool // the last write ended inside a line
}

// fileMode lets the owner's group read: addresses of people are in it.
const fileMode = 0o640

// reopen opens the file, made where it is not there. After an error the one
// that was open goes on.
func (f *file) reopen() error {
	// A named pipe without a reader would be waited for without end.
	next, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, fileMode)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("access log %q: %w; let this user write there", f.path, err)
	}
	f.close()
	f.f, f.half = next, false
	return nil
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
	}
}

// write appends lines. What a full disk cut off does not run into the next.
func (f *file) write(lines []byte) (int, error) {
	f.f.SetWriteDeadline(time.Now().Add(patience)) // of a pipe; files have none
	if f.half {
		if _, err := f.f.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		f.half = false
	}
	n, err := f.f.Write(lines)
	if n > 0 && n < len(lines) {
		f.half = lines[n-1] != '\n'
	}
	return n, err
}
