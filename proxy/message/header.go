package message

import "genkan/proxy/web"

// A Field is one header or trailer line.
type Field = web.Field

// A Header is the field lines of one message in their order. Names keep the
// spelling they came in; they are compared without regard to ASCII case
// (RFC 9110 §5.1). The zero Header is empty and ready for use.
type Header []Field

// Get returns the value of the first line called name, or "".
func (h Header) Get(name string) string {
	for i := range h {
		if EqualFold(h[i].Name, name) {
			return h[i].Value
		}
	}
	return ""
}

// Has reports whether there is a line called name.
func (h Header) Has(name string) bool {
	for i := range h {
		if EqualFold(h[i].Name, name) {
			return true
		}
	}
	return false
}

// Values returns the values of all lines called name.
func (h Header) Values(name string) []string {
	var v []string
	for i := range h {
		if EqualFold(h[i].Name, name) {
			v = append(v, h[i].Value)
		}
	}
	return v
}

// Add appends a line.
func (h *Header) Add(name, value string) { *h = append(*h, Field{Name: name, Value: value}) }

// Set removes every line called name and appends one.
func (h *Header) Set(name, value string) {
	h.Del(name)
	h.Add(name, value)
}

// Del removes every line called name.
func (h *Header) Del(name string) {
	h.DelFunc(func(n string) bool { return EqualFold(n, name) })
}

// DelFunc removes every line for whose name drop returns true.
func (h *Header) DelFunc(drop func(name string) bool) {
	kept := (*h)[:0]
	for _, f := range *h {
		if !drop(f.Name) {
			kept = append(kept, f)
		}
	}
	clear((*h)[len(kept):])
	*h = kept
}

// EqualFold reports whether a and b are the same but for ASCII case.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
