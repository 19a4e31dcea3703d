package certs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mholt/acmez/v3/acme"

	"genkan/proxy/certs/store"
)

// Whatever a stranger asks for, only the one token of the one name is answered,
// and no file outside of the challenges is looked at: one beside them, which
// would answer, never does.
func FuzzHTTPChallenge(f *testing.F) {
	s, err := store.Open(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	c := newChallenges(s)
	chal := acme.Challenge{Token: "abc-_123", KeyAuthorization: "abc-_123.key", Identifier: acme.Identifier{Type: "dns", Value: "a.example.jp"}}
	if err := (httpSolver{c}).Present(f.Context(), chal); err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.Dir(), challengeDir, "abc-_123.json"))
	if err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir(), "outside.json"), []byte(strings.Replace(string(text), `"abc-_123"`, `"../outside"`, 1)), 0o600); err != nil {
		f.Fatal(err)
	}
	for _, host := range []string{"a.example.jp", "A.Example.JP", "b.example.jp", ""} {
		for _, path := range []string{"abc-_123", "../outside", "abc-_123?x", "abc-_123/", "", "name@a.example.jp", strings.Repeat("a", 200)} {
			f.Add(host, ChallengePath+path)
		}
	}
	f.Fuzz(func(t *testing.T, host, path string) {
		for range 2 { // from memory, and from the store as another process would
			got, ok := c.http01(host, path)
			want := strings.EqualFold(host, "a.example.jp") && path == ChallengePath+"abc-_123"
			if ok != want || ok && got != chal.KeyAuthorization {
				t.Errorf("%q %q: %q, %v", host, path, got, ok)
			}
			c = newChallenges(s)
		}
	})
}

// A wish of the CA's is never less than nothing, and seconds are what they are.
func FuzzRetryAfter(f *testing.F) {
	for _, text := range []string{"0", "120", "-1", "Wed, 21 Oct 2099 07:28:00 GMT", "99999999999999999999", "1.5", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := retryAfter(text); got < 0 {
			t.Errorf("%q: %s", text, got)
		}
	})
}
