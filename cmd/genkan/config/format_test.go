package config

import (
	"bytes"
	"testing"
)

func TestFormat(t *testing.T) {
	const src = "\n\n# top\ninclude=['sites/*.toml']   # one a customer\nembedded   =   \"deny\"\n[tunnel]\nprefix=\"2001:e41::/32\"\nrelays   = [\n\"61.211.224.125\", # Tokyo\n      \"61.211.224.126\"\n  ]\n\n\n\n" +
		"# the shop\n  [ site . 'www.example.jp' ]#s\nlisten=\"tunnel:80\"  \nto=\"10.0.0.1:80\"\r\n[forward.\"ssh\"]\nlisten = '''tunnel:22'''\n\nto=\"10.0.0.1:22\""
	const want = `# top
include  = ['sites/*.toml']   # one a customer
embedded = "deny"

[tunnel]
prefix = "2001:e41::/32"
relays = [
  "61.211.224.125", # Tokyo
  "61.211.224.126"
]

# the shop
[site."www.example.jp"] # s
listen = "tunnel:80"
to     = "10.0.0.1:80"

[forward.ssh]
listen = '''tunnel:22'''

to = "10.0.0.1:22"
`
	got, err := Format("f", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	if again, err := Format("f", got); err != nil || !bytes.Equal(again, got) {
		t.Fatalf("%v, again it gives:\n%s", err, again)
	}
}

// FuzzFormat wants what can be read to keep its meaning, and a second time to change nothing.
func FuzzFormat(f *testing.F) {
	for _, text := range seeds(f) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := newReport()
		if parse(r, "f", []byte(text)); r.err() != nil {
			return
		}
		once, err := Format("f", []byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if twice, err := Format("f", once); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q: %v, %q and then %q", text, err, once, twice)
		}
	})
}
