package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"genkan/acl"
)

// reference is what stands for something else in a string: ${NAME} for a variable of the environment,
// ${credential:NAME} for the content of a file that systemd's LoadCredential gives, $${ for "${" itself.
var reference = regexp.MustCompile(`\$?\$\{[^}]*\}?`)

const (
	credentialPrefix = "credential:"
	credentialMost   = 64 << 10 // bytes
)

// A nameless reference would find a folder, and one with a slash a file elsewhere.
var (
	variableName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

// expand puts what the references of all strings stand for in their place. Keys stay as they are.
func (r *report) expand(t *table) {
	for _, e := range t.entries {
		r.expandValue(e.val)
	}
}

func (r *report) expandValue(v *value) {
	if v == nil {
		return
	}
	if v.kind == text && strings.Contains(v.text, "${") {
		v.text = reference.ReplaceAllStringFunc(v.text, func(found string) string { return r.refer(v.pos, found) })
	}
	for _, item := range v.items {
		r.expandValue(item)
	}
	if v.table != nil {
		r.expand(v.table)
	}
}

// refer gives what a reference stands for; itself, with a mistake, where that is nothing.
func (r *report) refer(pos acl.Pos, found string) string {
	if strings.HasPrefix(found, "$$") {
		return found[1:]
	}
	name, closed := strings.CutSuffix(strings.TrimPrefix(found, "${"), "}")
	credential, is := strings.CutPrefix(name, credentialPrefix)
	switch {
	case !closed:
		r.mistake(pos, "%q has no end; write ${NAME}, or $${ for these two signs", found)
	case is && !credentialName.MatchString(credential):
		r.mistake(pos, "%q: %q is no name of a credential; write letters, digits, \"_\", \"-\" and \".\"", found, credential)
	case is:
		return r.credential(pos, found, credential)
	case !variableName.MatchString(name):
		r.mistake(pos, "%q: %q is no name of a variable; write ${NAME}, ${credential:NAME}, or $${ for these two signs", found, name)
	default:
		value, set := os.LookupEnv(name)
		if set {
			return value
		}
		r.mistake(pos, "%q: the environment has no %s; set it (in the unit: Environment= or, for CREDENTIALS_DIRECTORY, LoadCredential=)", found, name)
	}
	return found
}

// credential reads one that systemd has given.
func (r *report) credential(pos acl.Pos, found, name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		r.mistake(pos, "%q: no credentials were given; write LoadCredential=%s:/PATH into the unit", found, name)
		return found
	}
	src, err := readBounded(filepath.Join(dir, name))
	switch {
	case err != nil:
		r.mistake(pos, "%q: %s (LoadCredential=%s:/PATH in the unit gives it)", found, cause(err), name)
		return found
	case len(src) > credentialMost:
		r.mistake(pos, "%q: larger than 64 KiB; name it as a file by ${CREDENTIALS_DIRECTORY}/%s", found, name)
		return found
	}
	return strings.TrimSuffix(string(src), "\n")
}
