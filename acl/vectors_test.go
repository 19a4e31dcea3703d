package acl

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// deviations are the policy rows of testdata/address-cases.tsv where DESIGN §3
// chooses otherwise: brackets are optional, and host bits in a rule are an
// error that shows the right spelling.
var deviations = map[string]string{
	"[2001:db8::]/32":       "2001:db8::/32",
	"10.0.0.5/8":            "",
	"::ffff:192.0.2.77/120": "",
	"192.168.1.100/24":      "",
	"1.2.3.4/0":             "",
}

// mistaken is the must row that contradicts RFC 4291 §2.2: 51234 has five
// digits, so the text is no address, and "never guess" leaves only an error.
const mistaken = "2001:db8::1:51234"

func TestAddressVectors(t *testing.T) {
	for _, row := range vectorRows(t, "testdata/address-cases.tsv") {
		input, result, want, kind, strength, note := unescape(t, row[0]), row[1], row[2], Kind(row[3]), row[4], row[5]
		if result == "error" {
			want = ""
		}
		if d, ok := deviations[input]; ok && strength == "policy" {
			want = d
		}
		if input == mistaken {
			want = ""
		}
		var env Env
		if strings.Contains(note, "6rd prefix") {
			env.SixRD = must(ParseSixRD("2001:db8::/32,0"))
		}
		id, err := Identify(kind, input, env)
		if got := id.Canonical; got != want || (err == nil) != (want != "") {
			t.Errorf("%s %q = %q, %v; want %q (%s: %s)", kind, input, got, err, want, strength, note)
		}
	}
}

// vectorRows returns the fields of each row after the heading.
func vectorRows(t *testing.T, file string) [][]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	columns := strings.Count(lines[0], "\t") + 1
	var rows [][]string
	for _, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		if len(fields) != columns {
			t.Fatalf("%s: %q has %d fields, want %d", file, line, len(fields), columns)
		}
		rows = append(rows, fields)
	}
	return rows
}

// unescape undoes \xHH \t \n \r \\ and @repeat(n,s)tail.
func unescape(t *testing.T, s string) string {
	t.Helper()
	if rest, ok := strings.CutPrefix(s, "@repeat("); ok {
		args, tail, _ := strings.Cut(rest, ")")
		n, unit, _ := strings.Cut(args, ",")
		count, err := strconv.Atoi(n)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(unescape(t, unit), count) + unescape(t, tail)
	}
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return out
}

// must returns v of a call that cannot fail in a test's set-up.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
