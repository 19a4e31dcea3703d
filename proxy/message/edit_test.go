package message

import (
	"fmt"
	"testing"

	"genkan/proxy/web"
)

func TestEdits(t *testing.T) {
	h := Header{{Name: "A", Value: "1"}, {Name: "b", Value: "2"}, {Name: "Cookie", Value: "x"}, {Name: "a", Value: "3"}}
	Edits{Remove: []string{"cookie"}, Set: []Field{{Name: "A", Value: "4"}}, Add: []Field{{Name: "B", Value: "5"}, {Name: "B", Value: "6"}}}.Apply(&h)
	if got := fmt.Sprint(h); got != "[{b 2} {A 4} {B 5} {B 6}]" {
		t.Error(got)
	}
}

func TestEditsCheck(t *testing.T) {
	set := func(name, value string) Edits { return Edits{Set: []Field{{Name: name, Value: value}}} }
	for _, row := range []struct {
		edits Edits
		want  string
	}{
		{set("X-Env", "prod"), ""},
		{Edits{Remove: []string{"Cookie"}, Add: []Field{{Name: "Via", Value: "1.1 genkan"}}}, ""},
		{set("X-Env", "a\r\nb: c"), `header "X-Env": the value "a\r\nb: c" has a control byte, or a space at its ends; take it out`},
		{set("X Env", "a"), `header "X Env" is not a name; write letters, digits and "-"`},
		{Edits{Remove: []string{"Connection"}}, `header "Connection" is of the connection, which is made anew on each side; leave it out`},
		{set("content-length", "0"), `header "content-length" is of the connection, which is made anew on each side; leave it out`},
		{set("Host", "a"), `header "Host" is of the connection, which is made anew on each side; leave it out`},
		{set("X_Forwarded_For", "1.2.3.4"), `header "X_Forwarded_For" tells who the client is, which announce does; leave it out`},
		{Edits{Remove: []string{"X-Real-IP"}}, `header "X-Real-IP" tells who the client is, which announce does; leave it out`},
		{set("My-Client", "1.2.3.4"), `header "My-Client" tells who the client is, which announce does; leave it out`},
	} {
		faults := row.edits.Check(func(name string) bool { return web.SameField(name, "my-client") })
		if got := fmt.Sprint(faults); got != "["+row.want+"]" {
			t.Errorf("%v: %s\nwant %s", row.edits, got, row.want)
		}
	}
	if faults := set("X-Forwarded-For", "x").Check(nil); faults != nil {
		t.Errorf("of an answer: %v", faults)
	}
}
