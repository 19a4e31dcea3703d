package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"genkan/acl"
)

// A Mistake is one thing that is wrong, or doubtful, in a configuration file.
type Mistake struct {
	Pos acl.Pos // where; a zero Line means the file as a whole
	Msg string  // what is wrong; what to write
}

// Error gives "FILE:LINE:COL: what is wrong; what to write".
func (m Mistake) Error() string { return m.Pos.String() + ": " + m.Msg }

// Mistakes are all that is wrong with a configuration, in the order of its files and lines.
// It is never empty where it stands as an error.
type Mistakes []Mistake

// most bounds how many mistakes are shown: after so many, the rest is mostly their echo.
const most = 100

// Error gives one line a mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, 0, min(len(ms), most)+1)
	for i, m := range ms {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more mistakes", len(ms)-most))
			break
		}
		lines = append(lines, m.Error())
	}
	return strings.Join(lines, "\n")
}

// A report collects mistakes and warnings, so that one run shows them all.
type report struct {
	mistakes Mistakes
	warnings Mistakes
	files    map[string]int   // the order in which files were read
	damaged  map[string]bool  // files of which a part could not be read at all
	sources  []Source         // what was read, in that order
	folders  []string         // that include looks into
	toml     *unstable.Parser // its memory serves the next file, too
}

func newReport() *report {
	return &report{toml: new(unstable.Parser)}
}

func (r *report) mistake(pos acl.Pos, format string, args ...any) {
	r.mistakes = append(r.mistakes, Mistake{pos, fmt.Sprintf(format, args...)})
}

func (r *report) warn(pos acl.Pos, format string, args ...any) {
	r.warnings = append(r.warnings, Mistake{pos, fmt.Sprintf(format, args...)})
}

// broken is a mistake that hides what follows it: complaints about what is missing would be its echo.
func (r *report) broken(pos acl.Pos, format string, args ...any) {
	r.hurt(pos.File)
	r.mistake(pos, format, args...)
}

func (r *report) hurt(file string) {
	if r.damaged == nil {
		r.damaged = make(map[string]bool)
	}
	r.damaged[file] = true
}

// anyDamage reports whether some part of the configuration could not be read.
func (r *report) anyDamage() bool { return len(r.damaged) > 0 }

// begin notes that a file is read now, for the order of mistakes.
func (r *report) begin(file string) {
	if r.files == nil {
		r.files = make(map[string]int)
	}
	if _, seen := r.files[file]; !seen {
		r.files[file] = len(r.files)
	}
}

// compare orders places by the order in which files were read, then by line and column.
func (r *report) compare(a, b acl.Pos) int {
	return cmp.Or(cmp.Compare(r.files[a.File], r.files[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
}

// sorted puts mistakes in the order of files, lines and columns, each once.
func (r *report) sorted(ms Mistakes) Mistakes {
	slices.SortStableFunc(ms, func(a, b Mistake) int { return r.compare(a.Pos, b.Pos) })
	var once Mistakes
	here := 0 // where those begin that stand at the place of m
	for i, m := range ms {
		if i > 0 && m.Pos != ms[i-1].Pos {
			here = len(once)
		}
		if !slices.Contains(once[here:], m) {
			once = append(once, m)
		}
	}
	return once
}

// err returns all mistakes as one error, nil where there is none.
func (r *report) err() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	return r.sorted(r.mistakes)
}
