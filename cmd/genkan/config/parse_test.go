package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/tools/txtar"
)

// FuzzParse compares the tree with what go-toml's own decoder, which knows nothing of places, makes of the text:
// what it takes we take, with the same keys and strings, and what it refuses we refuse.
func FuzzParse(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	f.Add("a.b = 1\n[a]\nc = 2")
	f.Add("a = {b = [{c = 'd'}]}\r\n[[x]]\n")
	f.Fuzz(func(t *testing.T, src string) {
		r := newReport()
		root := parse(r, "f", []byte(src))
		for _, m := range r.mistakes {
			checkPlace(t, src, m)
		}
		var want map[string]any
		err := toml.Unmarshal([]byte(src), &want)
		switch {
		case err == nil && len(r.mistakes) == 0:
			checkSame(t, root, want)
		case err == nil && !stricter(r.mistakes):
			t.Fatalf("%q: go-toml takes it, and we say %v", src, r.mistakes)
		case err != nil && len(r.mistakes) == 0 && !later(err.Error()):
			t.Fatalf("%q: we take it, and go-toml says %v", src, err)
		}
	})
}

// seeds are the configurations of the other tests.
func seeds(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		tb.Fatal("no seeds", err)
	}
	var all []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for _, part := range txtar.Parse(data).Files {
			if strings.HasSuffix(part.Name, ".toml") {
				all = append(all, string(part.Data))
			}
		}
	}
	return all
}

// checkPlace fails where a mistake points outside of the file.
func checkPlace(t *testing.T, src string, m Mistake) {
	t.Helper()
	lines := strings.Split(src, "\n")
	if m.Pos.Line < 1 || m.Pos.Line > len(lines) || m.Pos.Col < 1 || m.Pos.Col > len(lines[m.Pos.Line-1])+4 {
		t.Fatalf("%q: %v lies outside", src, m)
	}
}

// stricter reports whether all mistakes are of those that we refuse beyond TOML.
func stricter(ms Mistakes) bool {
	for _, m := range ms {
		if !strings.Contains(m.Msg, "no table here is a list") && !strings.Contains(m.Msg, "each dot opens") &&
			!strings.Contains(m.Msg, "deep in each other") {
			return false
		}
	}
	return true
}

// later reports whether go-toml's complaint is about a value that decoding looks at, not the tree.
func later(msg string) bool {
	for _, s := range []string{"date", "time", "range", "invalid", "number", "digit", "month", "day", "hour", "minute", "second", "offset", "underscore", "nan", "inf"} {
		if strings.Contains(msg, s) {
			return true
		}
	}
	return false
}

// checkSame compares keys and strings.
func checkSame(t *testing.T, got *table, want map[string]any) {
	t.Helper()
	if len(got.entries) != len(want) {
		t.Fatalf("%s has %d keys, want %v", got.called(), len(got.entries), want)
	}
	for key, w := range want {
		e := got.get(key)
		if e == nil {
			t.Fatalf("%s: no key %q", got.called(), key)
		}
		checkValue(t, e.val, w)
	}
}

func checkValue(t *testing.T, got *value, want any) {
	t.Helper()
	switch w := want.(type) {
	case map[string]any:
		if got.kind != inline {
			t.Fatalf("%v: got %s, want a table", got.pos, got.found())
		}
		checkSame(t, got.table, w)
	case string:
		if got.kind != text || got.text != w {
			t.Fatalf("%v: got %s, want %q", got.pos, got.found(), w)
		}
	case []any:
		if got.kind != array || len(got.items) != len(w) {
			t.Fatalf("%v: got %s, want %v", got.pos, got.found(), w)
		}
		for i := range w {
			checkValue(t, got.items[i], w[i])
		}
	}
}

// Places count lines and bytes from 1 and point at the key, and at the first byte of the value.
func TestPlaces(t *testing.T) {
	src := "\xef\xbb\xbf# é\r\na = \"x\"\r\n[t]\r\n  b=[ 1,\n 'y', {c = true}]\n"
	r := newReport()
	root := parse(r, "f", []byte(src))
	if r.err() != nil {
		t.Fatal(r.err())
	}
	b := root.get("t").val.table.get("b")
	for _, row := range []struct {
		what, got, want string
	}{
		{"key", root.get("a").pos.String(), "f:2:1"},
		{"value", root.get("a").val.pos.String(), "f:2:5"},
		{"header", root.get("t").val.table.pos.String(), "f:3:1"},
		{"indented-key", b.pos.String(), "f:4:3"},
		{"list", b.val.pos.String(), "f:4:5"},
		{"first-item", b.val.items[0].pos.String(), "f:4:7"},
		{"second-item", b.val.items[1].pos.String(), "f:5:2"},
		{"inline-table", b.val.items[2].pos.String(), "f:5:7"},
		{"inline-key", b.val.items[2].table.get("c").pos.String(), "f:5:8"},
	} {
		if row.got != row.want {
			t.Errorf("%s: at %s, want %s", row.what, row.got, row.want)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	words := []string{"listen", "to", "access", "announce", "announce_address"}
	for _, row := range []struct{ written, want string }{
		{"lisen", "listen"},
		{"lsiten", "listen"},
		{"Listen", "listen"},
		{"acces", "access"},
		{"too", "to"},
		{"anounce", "announce"},
		{"zzz", ""},
		{"", ""},
		{strings.Repeat("x", 1000), ""},
	} {
		if got := DidYouMean(row.written, words); got != row.want {
			t.Errorf("%q: %q, want %q", row.written, got, row.want)
		}
	}
}
