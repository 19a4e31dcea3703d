package ftp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of what either side may send.
const (
	maxLine  = 4096 // bytes of a line
	maxLines = 1024 // lines of one reply
)

var (
	errLine  = fmt.Errorf("a line of more than %d bytes", maxLine)
	errLines = fmt.Errorf("a reply of more than %d lines", maxLines)
	errReply = errors.New("no FTP reply")
)

// readLine reads a line, its end included: LF or CRLF.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", errLine
	case err == io.EOF && len(line) > 0:
		return "", io.ErrUnexpectedEOF
	}
	return string(line), err
}

// A reply is what a server says to a command (RFC 959 §4.2). The zero reply
// is none.
type reply struct {
	code int
	last string // the last line, without its end
	raw  string // all lines
}

// readReply reads one reply, of several lines where the first has "-" behind
// its code.
func readReply(r *bufio.Reader) (reply, error) {
	var all strings.Builder
	code := ""
	for range maxLines {
		line, err := readLine(r)
		if err != nil {
			return reply{}, err
		}
		all.WriteString(line)
		text := strings.TrimRight(line, "\r\n")
		if code == "" {
			if len(text) < 3 || strings.Trim(text[:3], "0123456789") != "" {
				return reply{}, errReply
			}
			code = text[:3]
			if len(text) > 3 && text[3] == '-' {
				continue
			}
		} else if text != code && !strings.HasPrefix(text, code+" ") {
			continue
		}
		n, err := strconv.Atoi(code)
		return reply{n, text, all.String()}, err
	}
	return reply{}, errLines
}

func (r reply) preliminary() bool { return r.code < 200 }

// unknown tells that the server does not know the command (RFC 959 §4.2.1).
func (r reply) unknown() bool { return r.code >= 500 && r.code <= 504 }

// namesPort tells that the reply is one to PASV or EPSV.
func (r reply) namesPort() bool { return r.code == 227 || r.code == 229 }

// endsData tells that the reply is about a transfer that is over, and not about one that
// is to come.
func (r reply) endsData() bool { return r.code == 225 || r.code == 226 || r.code == 250 }

// passivePort reads where the server listens. Of an address nothing is taken: data
// comes from the server that the control connection goes to.
func (r reply) passivePort() (uint16, bool) {
	switch r.code {
	case 229:
		for at := range len(r.raw) {
			if r.raw[at] != '(' {
				continue
			}
			if port, ok := extendedPort(r.raw[at+1:]); ok {
				return port, true
			}
		}
	case 227: // six numbers, in brackets or not, wherever they are (RFC 1123 §4.1.2.6)
		for _, word := range strings.FieldsFunc(strings.ReplaceAll(r.raw, ", ", ","), func(c rune) bool { return c != ',' && (c < '0' || c > '9') }) {
			if to, err := parsePORT(strings.Trim(word, ",")); err == nil && to.Port() > 0 {
				return to.Port(), true
			}
		}
	}
	return 0, false
}

// extendedPort reads "<d><d><d>port<d>)" (RFC 2428 §3). An old draft had family
// and address between.
func extendedPort(text string) (uint16, bool) {
	inside, _, closed := strings.Cut(text[:min(len(text), 100)], ")")
	if !closed || len(inside) < 5 {
		return 0, false
	}
	fields := strings.Split(inside, inside[:1])
	if len(fields) != 5 || fields[0] != "" || fields[4] != "" {
		return 0, false
	}
	return parsePort(fields[3])
}

// format229 and format227 tell a client where to connect to.
func format229(port uint16) string {
	return fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)\r\n", port)
}

func format227(at netip.AddrPort) string {
	return "227 Entering Passive Mode (" + hostPort(at) + ").\r\n"
}
