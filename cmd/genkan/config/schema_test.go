package config

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchemaTakesGoodFiles: what check takes, the schema takes.
func TestSchemaTakesGoodFiles(t *testing.T) {
	s := mustCompileSchema(t)
	files, err := filepath.Glob("testdata/good/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".toml") {
				continue
			}
			if err := s.Validate(mustDecode(t, string(f.Data))); err != nil {
				t.Errorf("%s, %s: %v", file, f.Name, err)
			}
		}
	}
}

func TestSchema(t *testing.T) {
	s := mustCompileSchema(t)
	for _, row := range []struct{ text, want string }{
		{"max_conns = 100", ""},
		{"max_conns = 0", "at '/max_conns': minimum: got 0, want 1"},
		{"max_conns = \"100\"", "at '/max_conns': got string, want integer"},
		{"max_con = 100", "additional properties 'max_con' not allowed"},
		{"embedded = \"allow\"", "at '/embedded': value must be one of 'deny', 'off'"},
		{"[tunnel]\nmtu = 1280", ""},
		{"[tunnel]\nmtu = \"auto\"", ""},
		{"[tunnel]\nmtu = \"big\"", "at '/tunnel/mtu': 'anyOf' failed"},
		{"[tunnel]\nrelays = \"192.0.2.1\"", ""},
		{"[tunnel]\nrelays = [1]", "at '/tunnel/relays/0': got number, want string"},
		{"[timeouts]\ndial = \"5s\"", ""},
		{"[timeouts]\ndial = 5", "at '/timeouts/dial': got number, want string"},
		{"[site.\"a.example\"]\nlisten = \":80\"\nto = [\"10.0.0.1:80\"]\ncheck = { interval = \"5s\" }", ""},
		{"[site.\"a.example\"]\nlisten = \":80\"\ncheck = { intervall = \"5s\" }", "additional properties 'intervall' not allowed"},
		{"[forward.ssh]\nsni = [\"a.example\"]\ntrust = [\"10.0.0.1\"]", "additional properties 'trust' not allowed"},
		{"[lists]\noffice = [\"192.0.2.0/24\"]\nblocked = { file = \"x\" }", ""},
		{"[lists]\nblocked = { fil = \"x\" }", "additional properties 'fil' not allowed"},
	} {
		err := s.Validate(mustDecode(t, row.text))
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%q: %v", row.text, err)
		case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%q: %v, want %q in it", row.text, err, row.want)
		}
	}
}

func mustCompileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("genkan.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("genkan.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustDecode(t *testing.T, text string) (doc any) {
	t.Helper()
	var m map[string]any
	if err := toml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return m
}
