package accesslog

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// A syslog sends each line as one datagram (RFC 5424; RFC 5426 for UDP).
type syslog struct {
	network, address string
	conn             net.Conn // nil: not connected
	front, pid       string
}

// priority is facility local0, severity informational (RFC 5424 §6.2.1).
const priority = 16*8 + 6

// openSyslog connects to a socket, "" for this machine's, or "udp/…".
func openSyslog(address, front string) (*syslog, error) {
	s := &syslog{network: "unixgram", address: devLog, front: header(front), pid: strconv.Itoa(os.Getpid())}
	if udp, ok := strings.CutPrefix(address, "udp/"); ok {
		s.network, s.address = "udp", udp
	} else if address != "" {
		s.address = address
	}
	if err := s.reopen(); err != nil {
		return nil, fmt.Errorf("access log: syslog %w; start it, or name where it listens", err)
	}
	return s, nil
}

// header is a word of the header: printable ASCII (RFC 5424 §6), "-" for none.
func header(word string) string {
	word = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, word)
	return orDash(word[:min(len(word), 255)])
}

// appendHeader writes what stands in front of a message.
func (s *syslog) appendHeader(b []byte, t time.Time) []byte {
	b = append(b, '<')
	b = strconv.AppendInt(b, priority, 10)
	b = append(b, ">1 "...)
	b = t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z")
	b = append(b, ' ')
	b = append(b, s.front...)
	b = append(b, " genkan "...)
	b = append(b, s.pid...)
	return append(b, " access - "...)
}

// reopen connects; a syslog that was started again has a new socket.
func (s *syslog) reopen() error {
	conn, err := net.DialTimeout(s.network, s.address, patience)
	if err != nil {
		return err
	}
	s.close()
	s.conn = conn
	return nil
}

func (s *syslog) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// write sends the lines. The first that cannot be sent is tried again over a
// new connection; after that the rest is given up.
func (s *syslog) write(lines []byte) (sent int, err error) {
	deadline := time.Now().Add(patience)
	for sent < len(lines) {
		n := bytes.IndexByte(lines[sent:], '\n')
		line := lines[sent : sent+n]
		if err = s.send(line, deadline); err != nil {
			if err = s.reopen(); err == nil {
				err = s.send(line, deadline)
			}
		}
		if err != nil {
			return sent, err
		}
		sent += n + 1
	}
	return sent, nil
}

func (s *syslog) send(line []byte, deadline time.Time) error {
	if s.conn == nil {
		return net.ErrClosed
	}
	s.conn.SetWriteDeadline(deadline)
	_, err := s.conn.Write(line)
	return err
}
