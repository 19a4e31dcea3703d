package message

import (
	"strings"

	"genkan/proxy/web"
)

// Underscores says what becomes of a field whose name is another spelling
// of one that we set ourselves: CGI and its descendants turn "_", "." and
// "-" all into "_", so X_Forwarded_For would overwrite X-Forwarded-For.
// The zero value drops them.
type Underscores int

// The three answers to an alias.
const (
	DropAliases   Underscores = iota // the field is removed
	RejectAliases                    // the request is answered 400
	PassAliases                      // the field goes to the backend
)

// IsAlias reports whether name is not itself, but folds onto, a field of
// framing or routing, or one that tells who the client is (web.Claims).
func IsAlias(name string) bool {
	if !strings.ContainsAny(name, "_.") {
		return false
	}
	f := fold(name)
	return IsHop(f) || f == "host" || web.Claims(f)
}

// fold spells name as a CGI server sees it, with "-" for every separator.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c == '_' || c == '.' || lower(c) != c {
			return strings.Map(foldRune, name)
		}
	}
	return name
}

func foldRune(r rune) rune {
	switch {
	case r == '_' || r == '.':
		return '-'
	case 'A' <= r && r <= 'Z':
		return r + ('a' - 'A')
	}
	return r
}
