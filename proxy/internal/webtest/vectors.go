package webtest

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A Vector is one row of an INDEX.tsv.
type Vector struct {
	Name, Expected string
	Data           []byte
}

// ReadVectors reads the rows of dir/INDEX.tsv that are wanted, with their files.
func ReadVectors(t testing.TB, dir string, want func(name string) bool) []Vector {
	t.Helper()
	index, err := os.ReadFile(filepath.Join(dir, "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var vs []Vector
	for line := range strings.Lines(string(index)) {
		col := strings.Split(strings.TrimSpace(line), "\t")
		if col[0] == "name" || !want(col[0]) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, col[0]))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(col[0], ".gz") {
			zr, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(zr); err != nil {
				t.Fatal(err)
			}
		}
		vs = append(vs, Vector{Name: strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(col[0], ".gz"), ".raw"), ".bin"), Expected: col[2], Data: data})
	}
	if len(vs) == 0 {
		t.Fatal("no vectors")
	}
	return vs
}
