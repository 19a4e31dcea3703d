package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rows reads a file of tab-separated values, without its header.
func rows(t *testing.T, file string, columns int) [][]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for _, line := range strings.Split(strings.TrimRight(string(data), "\n"), "\n")[1:] {
		row := strings.Split(line, "\t")
		if len(row) < columns {
			t.Fatalf("%s: row %q has %d columns, want %d", file, line, len(row), columns)
		}
		all = append(all, row)
	}
	return all
}

// genkan runs one command line in this process.
func genkan(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = program(context.Background(), args, streams{strings.NewReader(stdin), &out, &err})
	return status, out.String(), err.String()
}

// unescape reads the spelling of inputs in the vectors: \xHH \t \n \r \\ and @repeat(n,s)tail.
func unescape(t *testing.T, s string) string {
	t.Helper()
	if before, rest, ok := strings.Cut(s, "@repeat("); ok {
		n, rest, _ := strings.Cut(rest, ",")
		end := strings.LastIndexByte(rest, ')')
		count, err := strconv.Atoi(n)
		if err != nil || end < 0 {
			t.Fatalf("cannot read %q", s)
		}
		return before + strings.Repeat(rest[:end], count) + rest[end+1:]
	}
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
	if err != nil {
		t.Fatalf("cannot read %q: %v", s, err)
	}
	return out
}

// chosen are the rows of address-cases.tsv where Genkan does otherwise, and why. The README repeats them.
var chosen = map[string]string{
	"[2001:db8::]/32":       "brackets are optional everywhere (DESIGN §3)",
	"10.0.0.5/8":            "host bits are an error that shows the right spelling (DESIGN §3)",
	"::ffff:192.0.2.77/120": "host bits",
	"192.168.1.100/24":      "host bits",
	"1.2.3.4/0":             "host bits",
	"2001:db8::1:51234":     "no address at all: a group has four hex digits at most (RFC 4291 §2.2)",
	"[fe80::1%25eth0]:80":   "a zone is spelled as in text, %25 is for URIs",
}

// TestAddressCases runs each row of address-cases.tsv through "genkan address --as KIND --json".
func TestAddressCases(t *testing.T) {
	for _, row := range rows(t, "testdata/address-cases.tsv", 6) {
		text, ok, want, kind := unescape(t, row[0]), row[1] == "ok", row[2], row[3]
		args := []string{"address", "--as", kind, "--json", "--6rd", "2001:db8::/32", "--", text}
		status, out, complaint := genkan("", args...)
		var got struct {
			OK        bool
			Canonical string
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Errorf("%s %q: %v\n%s%s", kind, text, err, out, complaint)
			continue
		}
		if !ok {
			want = ""
		}
		right := got.OK == ok && got.Canonical == want && status == map[bool]int{true: 0, false: 1}[ok]
		if _, ours := chosen[text]; !right && !ours {
			t.Errorf("%s %q: %s, want %v %q (%s)", kind, text, strings.TrimSpace(out), ok, want, row[5])
		}
	}
}

// TestACLCases runs the rows of acl-cases.tsv, each as a configuration of its own, through "genkan explain --json".
func TestACLCases(t *testing.T) {
	dir := t.TempDir()
	for _, row := range rows(t, "testdata/acl-cases.tsv", 9) {
		id, rules, options, client, via, effective, verdict := row[0], row[1], row[2], row[3], row[4], row[5], row[6]
		text, ok := translate(t, rules, options)
		if !ok {
			continue // of packets and of HTTP/3: the tests of these run them
		}
		t.Run(id, func(t *testing.T) {
			file := filepath.Join(dir, id+".toml")
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			args := []string{"explain", "-c", file, "--json", "a", client}
			if via != "-" {
				for _, line := range strings.Split(unescape(t, via), "|") {
					args = append(args, "--via", line)
				}
			}
			status, out, complaint := genkan("", args...)
			var got explanation
			_ = json.Unmarshal([]byte(out), &got)
			switch verdict {
			case "config-error":
				if status != 1 || !strings.HasPrefix(complaint, file+":") && !strings.Contains(complaint, " "+file+":") {
					t.Errorf("status %d, %s%s; want a mistake with its place\n%s", status, out, complaint, text)
				}
				return
			case "allow", "deny":
			case "reject-400":
				if status != 3 || !strings.HasPrefix(got.Why, "answered with 400, as ") {
					t.Errorf("status %d, %s%s; want a 400", status, out, complaint)
				}
				return
			default:
				t.Fatalf("unknown verdict %q", verdict)
			}
			want := map[string]int{"allow": 0, "deny": 3}[verdict]
			if got.Verdict != verdict || status != want || effective != "=" && got.Client != effective {
				t.Errorf("status %d, %s%s; want %s for %s (%s)\n%s", status, out, complaint, verdict, effective, row[8], text)
			}
		})
	}
}

// translate turns rules and options of a row into a configuration; false where they are not for explain.
func translate(t *testing.T, rules, options string) (string, bool) {
	t.Helper()
	var top, tunnel, site, listener string
	for _, o := range strings.Fields(options) {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "-":
		case "embedded":
			top += fmt.Sprintf("embedded = %q\n", value)
		case "nat64":
			top += fmt.Sprintf("nat64 = [%q]\n", value)
		case "6rd":
			prefix, mask, _ := strings.Cut(value, ",")
			tunnel = fmt.Sprintf("[tunnel]\nprefix = %q\nrelays = [\"198.51.100.1\"]\nipv4_mask_len = %s\n", prefix, mask)
		case "trusted":
			site += fmt.Sprintf("trust = [%q]\n", value)
			listener = fmt.Sprintf("[listener.\":1000\"]\naccept_proxy = [%q]\n", value)
		case "hdr":
			site += fmt.Sprintf("trust_header = %q\n", map[string]string{"xff": "x-forwarded-for", "forwarded": "forwarded"}[value])
		case "proxyproto":
			site = ""
		default:
			return "", false
		}
	}
	var access []string
	for _, rule := range strings.Split(unescape(t, rules), "; ") {
		rule = strings.TrimPrefix(rule, "default ")
		if rule == "allow" || rule == "deny" {
			rule += " all"
		}
		quoted, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		access = append(access, string(quoted))
	}
	if !strings.Contains(options, "proxyproto=on") {
		listener = ""
	}
	return top + tunnel + listener + "[site.a]\nlisten = \":1000\"\nto = \"10.0.0.1:1000\"\n" + site + "access = [" + strings.Join(access, ", ") + "]\n", true
}
