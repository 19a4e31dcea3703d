package list

import (
	"os"

	"genkan/acl"
)

// Where returns the first line of a list file, or of the files of a directory,
// whose entry has a. It reads the files as they are now, which may be newer
// than the list in force; found is false if no entry has a.
func Where(path string, a acl.Addr) (where Line, found bool, err error) {
	names, err := filesOf(path)
	if err != nil {
		return Line{}, false, err
	}
	for _, name := range names {
		r, err := os.Open(name)
		if err != nil {
			return Line{}, false, err
		}
		f := file{name: name, set: &acl.SetBuilder{}}
		f.visit = func(n int, entry string, r acl.Range) {
			if !found && r.Contains(a) {
				where, found = Line{Pos: acl.Pos{File: name, Line: n}, Text: entry, Msg: r.Short()}, true
			}
		}
		_, err = f.read(r)
		r.Close()
		if _, bad := err.(*Mistakes); err != nil && !bad {
			return Line{}, false, err
		}
		if found {
			return where, true, nil
		}
	}
	return Line{}, false, nil
}
