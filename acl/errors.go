package acl

import (
	"fmt"
	"strconv"
	"strings"
)

// A ParseError says why a text is no address, prefix, range or rule, and how
// to spell it. Error gives `"TEXT": MSG`; those who print the text themselves
// use Msg alone.
type ParseError struct{ Text, Msg string }

func (e *ParseError) Error() string { return fmt.Sprintf("%q: %s", clip(e.Text), e.Msg) }

func fail(text, format string, args ...any) error {
	return &ParseError{text, fmt.Sprintf(format, args...)}
}

// clip bounds what a stranger's text may take in a message.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return s[:80] + "…"
}

// A Pos is the place in a file where a rule or list entry is written. Line and
// Col count from 1; 0 means unknown. The zero Pos is no place.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
}

// String returns "file:line:col", without the parts that are unknown.
func (p Pos) String() string {
	s := p.File
	if p.Line > 0 {
		s += ":" + strconv.Itoa(p.Line)
		if p.Col > 0 {
			s += ":" + strconv.Itoa(p.Col)
		}
	}
	return s
}

// An Error is one mistake in the rules, with its place and the fix.
type Error struct {
	Pos  Pos
	Text string // the rule as written
	Msg  string // what is wrong; what to write
}

// Error returns `genkan.toml:12:10: access "allow 10.1.2.3/8": host bits set;
// write "10.0.0.0/8"`.
func (e *Error) Error() string {
	s := "access: " + e.Msg
	if e.Text != "" {
		s = fmt.Sprintf("access %q: %s", clip(e.Text), e.Msg)
	}
	if e.Pos != (Pos{}) {
		s = e.Pos.String() + ": " + s
	}
	return s
}

// Errors are all mistakes of a rule set, in the order they are written.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}
