package htpasswd

import (
	"fmt"
	"os/exec"
	"testing"
)

// The hashes were made by Apache's htpasswd and by openssl passwd -apr1.
const file = `# staff
joe:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC

old:$apr1$xxxxxxxx$dxHfLAsjHkDRmG83UXe8K0
`

func TestApr1(t *testing.T) {
	for _, row := range []struct{ password, salt, want string }{
		{"password", "xxxxxxxx", "$apr1$xxxxxxxx$dxHfLAsjHkDRmG83UXe8K0"},
		{"", "a", "$apr1$a$WhvlDAZfTNLGGkFXU8cFe1"},
		{"a password that is longer than sixteen bytes", "12345678", ""},
	} {
		want := row.want
		if out, err := exec.Command("openssl", "passwd", "-apr1", "-salt", row.salt, row.password).Output(); err == nil && len(out) > 0 {
			want = string(out[:len(out)-1])
		}
		if got := apr1(row.password, row.salt); want != "" && got != want {
			t.Errorf("%q: %s, want %s", row.password, got, want)
		}
	}
}

func TestUsers(t *testing.T) {
	hash, err := Hash("a: b")
	if err != nil {
		t.Fatal(err)
	}
	u, err := Parse(file + "colon:" + hash + "\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, password string
		want           bool
	}{
		{"joe", "secret", false},
		{"joe", "myPassword", true}, {"joe", "mypassword", false}, {"joe", "", false}, {"Joe", "myPassword", false},
		{"old", "password", true}, {"old", "password ", false},
		{"colon", "a: b", true}, {"nobody", "myPassword", false}, {"", "", false},
	} {
		if u.Known(row.name, row.password) {
			t.Errorf("%q %q was right before it was asked", row.name, row.password)
		}
		for range 2 {
			if got := u.Check(row.name, row.password); got != row.want {
				t.Errorf("%q %q: %v, want %v", row.name, row.password, got, row.want)
			}
		}
		if u.Known(row.name, row.password) != row.want || u.Known(row.name, row.password+"x") {
			t.Errorf("%q %q: not remembered as it was", row.name, row.password)
		}
	}
	var none *Users
	if none.Check("", "") || none.Known("", "") || new(Users).Check("joe", "") || new(Users).Known("joe", "") {
		t.Error("the zero Users know somebody")
	}
}

func TestParseErrors(t *testing.T) {
	for _, row := range []struct{ src, want string }{
		{"", "nobody is in it; write a line by htpasswd -B"},
		{"joe", "line 1: want NAME:HASH, as htpasswd -B writes it"},
		{"\njoe:secret\n:x\n", "line 2: \"joe\": the hash is neither bcrypt nor apr1; make it anew by htpasswd -B, or genkan hash\nline 3: want NAME:HASH, as htpasswd -B writes it"},
		{"joe:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", `line 1: "joe": the hash is neither bcrypt nor apr1; make it anew by htpasswd -B, or genkan hash`},
		{"joe:$apr1$x", `line 1: "joe": the hash is no apr1; make it anew by htpasswd -B`},
		{"joe:$2y$20$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", `line 1: "joe": bcrypt of cost 20 takes seconds each time; make it anew with at most 14`},
		{file + "joe:$apr1$xxxxxxxx$dxHfLAsjHkDRmG83UXe8K0", `line 5: "joe" is given twice; keep one`},
	} {
		if _, err := Parse(row.src); fmt.Sprint(err) != row.want {
			t.Errorf("%q: %v\nwant %s", row.src, err, row.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(file)
	f.Fuzz(func(t *testing.T, src string) {
		if u, err := Parse(src); err == nil && len(u.hashes) == 0 {
			t.Error("nobody, and no error")
		}
	})
}
