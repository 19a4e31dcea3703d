package integration

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The rooms of the house and which other rooms each may use, tests included.
var mayImport = map[string][]string{
	"acl":         {},
	"tunnel":      {},
	"proxy":       {"acl"},
	"cmd":         {"proxy", "tunnel", "acl", "integration/lab"},
	"integration": {"proxy", "tunnel", "acl"},
}

// room is the top-level folder of an import path of this module, else "".
func room(path string) string {
	rest, ours := strings.CutPrefix(path, "genkan/")
	if !ours {
		return ""
	}
	top, _, _ := strings.Cut(rest, "/")
	return top
}

func TestImportRules(t *testing.T) {
	const format = `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}`
	cmd := exec.Command("go", "list", "-f", format, "./...")
	cmd.Dir = ".."
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &complaints)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		from := room(words[0])
		seen[from] = true
		for _, to := range words[1:] {
			if room(to) == "" || room(to) == from || allowed(from, to) {
				continue
			}
			t.Errorf("%s imports %s: %s may import %q only", words[0], to, from, mayImport[from])
		}
	}
	for name := range mayImport {
		if !seen[name] {
			t.Errorf("no package in %s: the rule is void", name)
		}
	}
}

func allowed(from, to string) bool {
	return slices.ContainsFunc(mayImport[from], func(a string) bool {
		return to == "genkan/"+a || strings.HasPrefix(to, "genkan/"+a+"/")
	})
}

// goFiles calls f with the path and text of each Go file of the repository.
func goFiles(t *testing.T, f func(path string, text []byte)) {
	t.Helper()
	n := 0
	for name := range mayImport {
		err := filepath.WalkDir(filepath.Join("..", name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			n++
			f(path, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 10 {
		t.Fatalf("only %d Go files found: the rule is void", n)
	}
}

// A file is one idea. Test tables may be longer.
func TestFileLength(t *testing.T) {
	goFiles(t, func(path string, text []byte) {
		if n := bytes.Count(text, []byte("\n")); n > 500 && !strings.HasSuffix(path, "_test.go") {
			t.Errorf("%s: %d lines, more than 500", path, n)
		}
	})
}

// Nothing happens at import, and nothing is left for later.
func TestNoInitNoTodo(t *testing.T) {
	goFiles(t, func(path string, text []byte) {
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init(): give it to a caller", path)
			}
		}
		for _, c := range file.Comments {
			for _, mark := range []string{"TO" + "DO", "FIX" + "ME", "X" + "XX:"} {
				if strings.Contains(c.Text(), mark) {
					t.Errorf("%s: a comment says %s", path, mark)
				}
			}
		}
	})
}
