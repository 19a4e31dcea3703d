package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"genkan/proxy"
)

// What two processes of an upgrade say to each other, in this order:
//
//	older                        younger
//	hello, its tunnel's address
//	                             prepared: the configuration holds
//	(stops taking clients) parcel, parcel, … go
//	                             ready: it serves
//	yours: it is the service's main process now
//
// Either says failed in place of its next word, or ends.
const (
	sayHello    = "hello"
	sayPrepared = "prepared"
	sayParcel   = "parcel"
	sayGo       = "go"
	sayReady    = "ready"
	sayYours    = "yours"
	sayFailed   = "failed"
)

// A word is one message between them. Unknown fields are for later versions.
type word struct {
	Say     string        `json:"say"`
	Why     string        `json:"why,omitempty"`     // of failed
	Version string        `json:"version,omitempty"` // of hello and prepared
	Tunnel  netip.Addr    `json:"tunnel,omitzero"`   // of hello; zero: there is none
	Parcel  *proxy.Parcel `json:"parcel,omitempty"`  // with one descriptor
}

// maxWord bounds a message in bytes: a configuration's mistakes are cut there.
const maxWord = 60 << 10

// A line leads to the other process.
type line struct{ conn *net.UnixConn }

// newLine takes one end of linePair over.
func newLine(f *os.File) (*line, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("line to the other process: %w", err)
	}
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("line to the other process: a %T", c), c.Close())
	}
	return &line{unixConn}, nil
}

// linePair makes both ends; far is for the other process.
func linePair() (near *line, far *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far = os.NewFile(uintptr(pair[1]), fdLine)
	near, err = newLine(os.NewFile(uintptr(pair[0]), fdLine))
	if err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return near, far, nil
}

// say sends a word by a deadline. The file of a parcel goes with it, and stays the caller's. io.EOF: the other process
// is gone.
func (l *line) say(w word, until time.Time) error {
	if len(w.Why) > maxWord/2 {
		w.Why = w.Why[:maxWord/2] + " …"
	}
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	var rights []byte
	if w.Parcel != nil {
		raw, err := w.Parcel.File.SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { rights = unix.UnixRights(int(fd)) })
		}
		if err != nil {
			return err
		}
	}
	if err := l.conn.SetWriteDeadline(until); err != nil {
		return err
	}
	_, _, err = l.conn.WriteMsgUnix(text, rights, nil)
	if errors.Is(err, unix.EPIPE) {
		err = io.EOF
	}
	return err
}

// hear waits for the next word until a deadline. io.EOF: the other process is gone.
func (l *line) hear(until time.Time) (word, error) {
	var w word
	if err := l.conn.SetReadDeadline(until); err != nil {
		return w, err
	}
	text, rights := make([]byte, maxWord), make([]byte, unix.CmsgSpace(4))
	n, nRights, _, _, err := l.conn.ReadMsgUnix(text, rights)
	if errors.Is(err, unix.ECONNRESET) { // it is gone and has not heard all; what it said before comes after this error
		n, nRights, _, _, err = l.conn.ReadMsgUnix(text, rights)
	}
	switch {
	case err == nil && n == 0:
		return w, io.EOF
	case errors.Is(err, unix.ECONNRESET):
		return w, io.EOF
	case err != nil:
		return w, err
	}
	if err := json.Unmarshal(text[:n], &w); err != nil {
		return w, fmt.Errorf("the other process says %.80q: %w", text[:n], err)
	}
	if nRights > 0 {
		f, err := fileOf(rights[:nRights])
		if err != nil {
			return w, err
		}
		if w.Parcel == nil {
			return w, errors.Join(fmt.Errorf("a descriptor with %q", w.Say), f.Close())
		}
		w.Parcel.File = f
	}
	if w.Parcel != nil && w.Parcel.File == nil {
		return w, errors.New("a parcel without its descriptor: too many are open")
	}
	return w, nil
}

// fileOf takes the one descriptor out of a control message.
func fileOf(rights []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("a descriptor that cannot be read: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("a descriptor that cannot be read: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]))
	}
	return os.NewFile(uintptr(fds[0]), "parcel"), nil
}

func (l *line) close() { l.conn.Close() }
