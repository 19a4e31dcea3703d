package dnsupdate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/miekg/dns"
)

// A Key is a TSIG key: what a name server knows us by. It never shows its
// secret. The zero Key signs nothing, and no update is sent without a signature.
type Key struct {
	name      string // lower case, with the dot at its end
	algorithm string // likewise, as "hmac-sha256."
	secret    string // base64
}

// Name is the key's name, with the dot at its end.
func (k Key) Name() string { return k.name }

// String is the key without its secret.
func (k Key) String() string {
	if k == (Key{}) {
		return "no key"
	}
	return fmt.Sprintf("key %q (%s)", k.name, strings.TrimSuffix(k.algorithm, "."))
}

// GoString is String: no way of printing shows the secret.
func (k Key) GoString() string { return k.String() }

// maxKeyFile bounds a key file in bytes.
const maxKeyFile = 64 << 10

// ReadKey reads a key file: what ParseKey reads.
func ReadKey(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return Key{}, fmt.Errorf("key file: %w", err)
	}
	if len(text) > maxKeyFile {
		return Key{}, fmt.Errorf("key file %q: more than %d bytes: this is no key", path, maxKeyFile)
	}
	k, err := ParseKey(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("key file %q: %w", path, err)
	}
	return k, nil
}

var errKeyForm = errors.New("not one TSIG key; write it as tsig-keygen does: key \"NAME\" { algorithm hmac-sha256; secret \"BASE64\"; };")

// ParseKey reads one key in the form of BIND's files, with its comments, or in
// that of nsupdate -y: ALGORITHM:NAME:SECRET. Errors do not show the text.
func ParseKey(text string) (Key, error) {
	if algorithm, rest, ok := strings.Cut(strings.TrimSpace(text), ":"); ok && !strings.Contains(text, "{") {
		name, secret, _ := strings.Cut(rest, ":")
		return newKey(name, algorithm, secret)
	}
	words, err := keyWords(text)
	if err != nil {
		return Key{}, err
	}
	// key NAME { … } ;
	if len(words) < 4 || words[0] != "key" || words[2] != "{" {
		return Key{}, errKeyForm
	}
	name, words := words[1], words[3:]
	given := map[string]string{}
	for len(words) >= 3 && words[0] != "}" {
		if _, twice := given[words[0]]; twice || words[2] != ";" {
			return Key{}, errKeyForm
		}
		given[words[0]] = words[1]
		words = words[3:]
	}
	if len(given) != 2 || len(words) != 2 || words[0] != "}" || words[1] != ";" {
		return Key{}, errKeyForm
	}
	return newKey(name, given["algorithm"], given["secret"])
}

// newKey checks the parts of a key.
func newKey(name, algorithm, secret string) (Key, error) {
	k := Key{name: dns.CanonicalName(name), algorithm: strings.ToLower(dns.Fqdn(algorithm)), secret: secret}
	if _, ok := dns.IsDomainName(name); !ok || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || name == "" || name == "." {
		return Key{}, fmt.Errorf("the key's name %q is no domain name", name)
	}
	switch k.algorithm {
	case dns.HmacSHA1, dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512:
	default:
		return Key{}, fmt.Errorf("the key's algorithm %q: unknown, or too weak (hmac-md5); make a new key: tsig-keygen -a hmac-sha256 NAME", algorithm)
	}
	if raw, err := base64.StdEncoding.Strict().DecodeString(secret); err != nil || len(raw) == 0 || strings.ContainsAny(secret, "\r\n") {
		return Key{}, fmt.Errorf("the secret of the key %q is no base64", name)
	}
	return k, nil
}

// keyWords splits the text of a BIND file into words, strings and the signs
// { } and ;, without comments.
func keyWords(text string) ([]string, error) {
	var words []string
	for text != "" {
		switch c := text[0]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			text = text[1:]
		case c == '#', strings.HasPrefix(text, "//"):
			_, text, _ = strings.Cut(text, "\n")
		case strings.HasPrefix(text, "/*"):
			var closed bool
			if _, text, closed = strings.Cut(text[2:], "*/"); !closed {
				return nil, errKeyForm
			}
		case strings.IndexByte("{};", c) >= 0:
			words, text = append(words, text[:1]), text[1:]
		case c == '"':
			word, rest, closed := strings.Cut(text[1:], `"`)
			if !closed || strings.ContainsAny(word, "\\\r\n{};") {
				return nil, errKeyForm
			}
			words, text = append(words, word), rest
		default:
			end := strings.IndexAny(text, " \t\r\n{};\"#")
			if end < 0 {
				end = len(text)
			}
			words, text = append(words, text[:end]), text[end:]
		}
	}
	return words, nil
}
