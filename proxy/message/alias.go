package message

import (
	"strings"

	"genkan/proxy/web"
)

// Underscores says what becomes of a field whose name is another spelling
// of one that we set ourselves: CGI and its descendants turn "_", "." and
// "-", some all but letters and digits, into "_", so X_Forwarded_For and
// X~Forwarded~For would overwrite X-Forwarded-For.
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
	if strings.IndexFunc(name, separator) < 0 {
		return false
	}
	f := fold(name)
	return IsHop(f) || f == "host" || web.Claims(f)
}

// fold spells name as a CGI server sees it, with "-" for every separator.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; separator(rune(c)) || lower(c) != c {
			return strings.Map(foldRune, name)
		}
	}
	return name
}

func foldRune(r rune) rune {
	switch {
	case separator(r):
		return '-'
	case 'A' <= r && r <= 'Z':
		return r + ('a' - 'A')
	}
	return r
}

// separator reports whether r may become "_" there, other than "-" itself.
func separator(r rune) bool {
	return r != '-' && (r < '0' || '9' < r && r < 'A' || 'Z' < r && r < 'a' || 'z' < r)
}
