package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genkan/cmd/genkan/config"
)

// Strings may name variables and credentials; what is missing is a mistake with its place, and keys are never expanded.
func TestReferences(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BACKEND", "10.0.0.10:80")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for name, text := range map[string]string{"listen": "127.0.0.1:8080\n", "large": strings.Repeat("x", 65<<10)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "genkan.toml")
	for _, row := range []struct{ listen, to, want string }{
		{"${credential:listen}", "${BACKEND}", "listens on 127.0.0.1:8080, to 10.0.0.10:80"},
		{"127.0.0.1:80", "10.0.0.1${NONE}:80", `FILE:3:6: "${NONE}": the environment has no NONE; set it (in the unit: Environment= or, for CREDENTIALS_DIRECTORY, LoadCredential=)`},
		{"127.0.0.1:80", "${BACKEND", `FILE:3:6: "${BACKEND" has no end; write ${NAME}, or $${ for these two signs`},
		{"127.0.0.1:80", "${a b}", `FILE:3:6: "${a b}": "a b" is no name of a variable; write ${NAME}, ${credential:NAME}, or $${ for these two signs`},
		{"127.0.0.1:80", "${credential:../x}", `FILE:3:6: "${credential:../x}": "../x" is no name of a credential; write letters, digits, "_", "-" and "."`},
		{"127.0.0.1:80", "${credential:none}", `FILE:3:6: "${credential:none}": no such file; write one, or name another (LoadCredential=none:/PATH in the unit gives it)`},
		{"127.0.0.1:80", "${credential:large}", `FILE:3:6: "${credential:large}": larger than 64 KiB; name it as a file by ${CREDENTIALS_DIRECTORY}/large`},
		{"127.0.0.1:80", "$${BACKEND}", `FILE:3:6: to "${BACKEND}": `},
	} {
		text := fmt.Sprintf("[forward.a]\nlisten = %q\nto = %q\n", row.listen, row.to)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		plan, err := config.Load(file, config.Options{})
		var got string
		if err != nil {
			got, _, _ = strings.Cut(strings.ReplaceAll(err.Error(), file, "FILE"), "\n")
		} else {
			f := plan.Proxy.Forwards[0]
			got = fmt.Sprintf("listens on %s, to %s", f.Listen[0], f.To[0])
		}
		if got != row.want && !(strings.HasSuffix(row.want, ": ") && strings.HasPrefix(got, row.want)) {
			t.Errorf("listen %q, to %q:\n got %s\nwant %s", row.listen, row.to, got, row.want)
		}
	}
}
