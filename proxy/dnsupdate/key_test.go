package dnsupdate

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const secret = "bm9ib2R5IGtub3dzIHRoaXM="

func TestParseKey(t *testing.T) {
	const form = "not one TSIG key; write it as tsig-keygen does: key \"NAME\" { algorithm hmac-sha256; secret \"BASE64\"; };"
	for _, row := range []struct{ text, want string }{
		{"key \"genkan\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + secret + "\";\n};\n", `key "genkan." (hmac-sha256)`},
		{"// of ns1\nkey Genkan.Example. { # ours\n secret " + secret + "; /* two\nlines */ algorithm HMAC-SHA512; };", `key "genkan.example." (hmac-sha512)`},
		{"hmac-sha256:genkan:no base64", `the secret of the key "genkan" is no base64`},
		{"hmac-sha256:genkan:c2VjcmV0//8=\n", `key "genkan." (hmac-sha256)`},
		{"hmac-sha256:genkan:" + secret, `key "genkan." (hmac-sha256)`},
		{"hmac-md5:genkan:" + secret, `the key's algorithm "hmac-md5": unknown, or too weak (hmac-md5); make a new key: tsig-keygen -a hmac-sha256 NAME`},
		{"key \"\" { algorithm hmac-sha256; secret \"" + secret + "\"; };", `the key's name "" is no domain name`},
		{"key \"a b\" { algorithm hmac-sha256; secret \"" + secret + "\"; };", `the key's name "a b" is no domain name`},
		{"key \"genkan\" { algorithm hmac-sha256; secret \"\"; };", `the secret of the key "genkan" is no base64`},
		{"key \"genkan\" { algorithm hmac-sha256; secret \"=\"; };", `the secret of the key "genkan" is no base64`},
		{"key \"genkan\" { algorithm hmac-sha256; };", form},
		{"key \"genkan\" { secret a; secret b; };", form},
		{"key \"genkan\" { algorithm hmac-sha256; secret \"" + secret + "\"; }; key \"more\" { };", form},
		{"key \"genkan { algorithm", form},
		{"/* open", form},
		{"-----BEGIN PRIVATE KEY-----", form},
		{"", form},
	} {
		k, err := ParseKey(row.text)
		got := k.String()
		if err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%q:\n got %s\nwant %s", row.text, got, row.want)
		}
	}
}

func TestReadKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "update.key")
	if err := os.WriteFile(file, []byte("hmac-sha256:genkan:"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := ReadKey(file)
	if err != nil || k.Name() != "genkan." {
		t.Fatalf("key %v, error %v", k, err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, Client{Key: k}); strings.Contains(text, secret) {
			t.Errorf("%s shows the secret: %s", verb, text)
		}
	}
	if err := os.WriteFile(file, make([]byte, maxKeyFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKey(file); err == nil || err.Error() != fmt.Sprintf("key file %q: more than 65536 bytes: this is no key", file) {
		t.Errorf("a large file: %v", err)
	}
}

// A key that was read is the same key in either form; no text panics.
func FuzzParseKey(f *testing.F) {
	f.Add("key \"genkan\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + secret + "\";\n};\n")
	f.Add("hmac-sha512:a.b:" + secret)
	f.Add("key a{secret " + secret + ";algorithm hmac-sha1;};//")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if err != nil {
			if k != (Key{}) {
				t.Errorf("%q: %v, and yet a key", text, err)
			}
			return
		}
		for _, form := range []string{"%s:%s:%s", "key \"%[2]s\" { algorithm %[1]s; secret \"%[3]s\"; };"} {
			again, err := ParseKey(fmt.Sprintf(form, k.algorithm, k.name, k.secret))
			if err != nil || again != k {
				t.Errorf("%q: read as %v, then as %v, %v", text, k, again, err)
			}
		}
	})
}
