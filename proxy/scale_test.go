package proxy

import (
	"fmt"
	"testing"

	"genkan/acl"
)

// BenchmarkApply reloads a front of 10,000 sites.
func BenchmarkApply(b *testing.B) {
	listen, err := ParseListen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	to, err := ParseBackend("10.0.0.1:80")
	if err != nil {
		b.Fatal(err)
	}
	config := func() Config {
		var c Config
		for i := range 10_000 {
			c.Sites = append(c.Sites, Site{Name: fmt.Sprintf("s%d.test", i), Listen: []Listen{listen}, To: []Backend{to}, Access: acl.AllowAll()})
		}
		return c
	}
	s, err := New(config())
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for b.Loop() {
		if err := s.Apply(config()); err != nil {
			b.Fatal(err)
		}
	}
}
