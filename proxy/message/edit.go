package message

import (
	"fmt"

	"genkan/proxy/web"
)

// Edits change the fields of a message: first Remove, then Set, then Add. The
// zero Edits change nothing.
type Edits struct {
	Remove []string
	Set    []Field // in the place of all fields of the name
	Add    []Field
}

// Apply edits h.
func (e Edits) Apply(h *Header) {
	for _, name := range e.Remove {
		h.Del(name)
	}
	for _, f := range e.Set {
		h.Set(f.Name, f.Value)
	}
	*h = append(*h, e.Add...)
}

// Then gives the edits of e, and of later behind them.
func (e Edits) Then(later Edits) []Edits {
	var all []Edits
	for _, one := range []Edits{e, later} {
		if len(one.Remove)+len(one.Set)+len(one.Add) > 0 {
			all = append(all, one)
		}
	}
	return all
}

// Check gives all that would break a message, or say what only we may say.
// identity names fields that tell a backend who the client is; nil: the
// message is an answer.
func (e Edits) Check(identity func(name string) bool) (faults []error) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	names := append([]string(nil), e.Remove...)
	for _, f := range append(append([]Field(nil), e.Set...), e.Add...) {
		if !IsValue(f.Value) {
			bad("header %q: the value %q has a control byte, or a space at its ends; take it out", f.Name, f.Value)
		}
		names = append(names, f.Name)
	}
	for _, name := range names {
		switch {
		case !IsToken(name):
			bad("header %q is not a name; write letters, digits and \"-\"", name)
		case IsHop(name) || EqualFold(name, "Host"):
			bad("header %q is of the connection, which is made anew on each side; leave it out", name)
		case identity != nil && (identity(name) || web.Claims(name)):
			bad("header %q tells who the client is, which announce does; leave it out", name)
		}
	}
	return faults
}
