package list

import (
	"fmt"
	"io"
	"strings"

	"genkan/acl"
)

// What a file may hold; more is a mistake of somebody else's script.
const (
	MaxBytes    = 256 << 20
	maxLine     = 1024
	maxReported = 20
)

// Mistakes are the lines of a file that are no entries, at most 20, and how
// many there are in all.
type Mistakes struct {
	Lines []Line
	Total int
}

// A Line is a place in a list file and what is said about it.
type Line struct {
	Pos  acl.Pos
	Text string
	Msg  string
}

// String returns `blocked.txt:3: "10.1.2.3/8": host bits set…`.
func (l Line) String() string { return fmt.Sprintf("%s: %.80q: %s", l.Pos, l.Text, l.Msg) }

func (m *Mistakes) add(l Line) {
	if m.Total++; len(m.Lines) < maxReported {
		m.Lines = append(m.Lines, l)
	}
}

func (m *Mistakes) Error() string {
	lines := make([]string, 0, len(m.Lines)+1)
	for _, l := range m.Lines {
		lines = append(lines, l.String())
	}
	if more := m.Total - len(m.Lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// Read reads a list: one address, prefix or range a line, "#" or ";" before a
// comment, empty lines. It also takes what operators have: "FIRST - LAST",
// and nginx's "deny ENTRY;" or "allow ENTRY;" (one of both; the "allow all;"
// or "deny all;" that ends such a file is passed over).
//
// The entries go to b; name stands in messages. Warnings are of masked host
// bits. The error is *Mistakes, or that of r.
func Read(r io.Reader, name string, b *acl.SetBuilder) (warnings *Mistakes, err error) {
	f := file{name: name, set: b}
	return f.read(r)
}

func (f *file) read(r io.Reader) (warnings *Mistakes, err error) {
	var text strings.Builder
	if n, err := io.Copy(&text, io.LimitReader(r, MaxBytes+1)); err != nil {
		return nil, err
	} else if n > MaxBytes {
		return nil, fmt.Errorf("%s: more than %d MiB", f.name, MaxBytes>>20)
	}
	rest := text.String()
	for n := 1; rest != ""; n++ {
		var line string
		line, rest, _ = strings.Cut(rest, "\n")
		f.line(n, line)
	}
	if f.mistakes.Total > 0 {
		return &f.warnings, &f.mistakes
	}
	return &f.warnings, nil
}

// A file is one that is being read.
type file struct {
	name               string
	set                *acl.SetBuilder
	verb               string // nginx's, of the lines so far
	warnings, mistakes Mistakes
	visit              func(line int, entry string, r acl.Range) // nil: nobody asks
}

func (f *file) line(n int, line string) {
	if second(line) {
		f.mistakes.add(Line{acl.Pos{File: f.name, Line: n}, clip(line), "two directives; write each on a line of its own"})
		return
	}
	if i := strings.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	line = strings.TrimSpace(line)
	if n == 1 {
		line = strings.TrimPrefix(line, "\ufeff")
	}
	if line == "" {
		return
	}
	entry, err := f.entry(line)
	if err == nil && entry == "" {
		return
	}
	var r acl.Range
	masked := false
	if err == nil {
		r, masked, err = acl.ParseFileEntry(entry)
	}
	switch {
	case err != nil:
		f.mistakes.add(Line{acl.Pos{File: f.name, Line: n}, entry, message(err)})
		return
	case masked:
		f.warnings.add(Line{acl.Pos{File: f.name, Line: n}, entry, fmt.Sprintf("host bits set; taken as %q%s", r.Short(), everybody(r))})
	}
	f.set.Add(r)
	if f.visit != nil {
		f.visit(n, entry, r)
	}
}

// everybody warns of an entry whose host bits hid that it is a whole family.
func everybody(r acl.Range) string {
	if strings.HasSuffix(r.Short(), "/0") {
		return ", which is everybody of its family"
	}
	return ""
}

// second reports whether a line goes on behind nginx's "deny ENTRY;". Without
// the verb, ";" begins a comment, as in the lists of Spamhaus.
func second(line string) bool {
	line = strings.TrimSpace(line)
	verb := line[:max(strings.IndexAny(line, " \t"), 0)]
	if verb != "deny" && verb != "allow" {
		return false
	}
	directive, rest, _ := strings.Cut(line, ";")
	rest = strings.TrimSpace(rest)
	return rest != "" && rest[0] != '#' && !strings.Contains(directive, "#")
}

// clip bounds what a message repeats of a line.
func clip(line string) string {
	return strings.TrimSpace(line[:min(len(line), maxLine)])
}

func message(err error) string {
	if pe, ok := err.(*acl.ParseError); ok {
		return pe.Msg
	}
	return err.Error()
}

// entry returns the entry in a line, without nginx's verb; "" passes over the
// line.
func (f *file) entry(line string) (string, error) {
	if len(line) > maxLine {
		return line, fmt.Errorf("a line of %d bytes", len(line))
	}
	if !strings.ContainsAny(line, " \t") {
		return line, nil
	}
	words := strings.Fields(line)
	switch {
	case words[0] == "allow" || words[0] == "deny":
		return f.nginx(line, words)
	case isSpacedRange(words):
		return strings.Join(words, ""), nil
	}
	return line, fmt.Errorf("one entry a line; begin a comment with \"#\"")
}

// isSpacedRange tells "FIRST - LAST", "FIRST -LAST" and "FIRST- LAST".
func isSpacedRange(words []string) bool {
	switch len(words) {
	case 2:
		return strings.HasSuffix(words[0], "-") != strings.HasPrefix(words[1], "-")
	case 3:
		return words[1] == "-"
	}
	return false
}

func (f *file) nginx(line string, words []string) (string, error) {
	switch {
	case len(words) != 2:
		return line, fmt.Errorf("%s takes one entry", words[0])
	case words[1] == "all" && f.verb != "" && f.verb != words[0]:
		return "", nil
	case words[1] == "all":
		return line, fmt.Errorf("\"all\" is no entry of a list")
	case f.verb != "" && f.verb != words[0]:
		return line, fmt.Errorf("a list holds one kind; this one began with %q", f.verb)
	}
	f.verb = words[0]
	return words[1], nil
}
