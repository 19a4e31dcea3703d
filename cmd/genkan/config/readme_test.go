package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const readme = "../../../README.md"

// TestReadmeKeys: the README's table of keys is the one that is read, with the
// same words. GENKAN_UPDATE=1 writes it.
func TestReadmeKeys(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys -->\n", "<!-- end of keys -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s: no %q and %q", readme, begin, end)
	}
	want := keyTable()
	if table == want {
		return
	}
	if os.Getenv("GENKAN_UPDATE") == "" {
		t.Fatalf("%s: the table of keys is not that of the program; run with GENKAN_UPDATE=1 to write it", readme)
	}
	if err := os.WriteFile(readme, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func keyTable() string {
	var b strings.Builder
	b.WriteString("| key | written as | what it is |\n|---|---|---|\n")
	rows(&b, "", fields())
	rows(&b, "tunnel.", tunnelFields())
	rows(&b, "tunnel.dns_update.", dnsUpdateFields())
	sites, forwards := siteFields(), forwardFields()
	shared := map[string]bool{}
	for _, f := range forwards {
		shared[f.key] = true
	}
	var both, site []field[Site]
	for _, f := range sites {
		if shared[f.key] && f.key != "announce" {
			both = append(both, f)
			delete(shared, f.key)
		} else {
			site = append(site, f)
		}
	}
	routes, ownRoute := map[string]bool{}, []field[Route]{}
	for _, f := range routeFields() {
		if routes[f.key] = true; f.key == "path" || f.key == "strip" {
			ownRoute = append(ownRoute, f)
		}
	}
	both, bothRoute := split(both, routes)
	site, siteRoute := split(site, routes)
	var forward []field[Forward]
	for _, f := range forwards {
		if shared[f.key] {
			forward = append(forward, f)
		}
	}
	rows(&b, "site, route, forward: ", bothRoute)
	rows(&b, "site, forward: ", both)
	rows(&b, "site: ", site)
	rows(&b, "site, route: ", siteRoute)
	rows(&b, "route: ", ownRoute)
	rows(&b, "forward: ", forward)
	rows(&b, "request_headers, response_headers.", editFields())
	rows(&b, "log.", logFields())
	rows(&b, "access_log.", accessLogFields())
	rows(&b, "basic_auth.", authFields())
	rows(&b, "check.", checkFields())
	rows(&b, "backend_tls.", backendTLSFields())
	rows(&b, "lists, one: ", listFields())
	rows(&b, "admin.", adminFields())
	rows(&b, "acme.", acmeFields())
	rows(&b, "acme.eab.", eabFields())
	rows(&b, "acme.dns.", dnsFields())
	rows(&b, "listener: ", listenerFields())
	rows(&b, "pool: ", poolFields())
	rows(&b, "timeouts.", timeoutFields())
	rows(&b, "limits.", limitFields())
	return b.String()
}

func rows[T any](b *strings.Builder, where string, fields []field[T]) {
	for _, f := range fields {
		fmt.Fprintf(b, "| %s`%s` | %s | %s |\n", where, f.key, code(f.write), escape(f.doc))
	}
}

// code marks an example, but for the words around several.
func code(write string) string {
	first, rest, several := strings.Cut(write, " or ")
	if several {
		return "`" + escape(first) + "` or " + escape(rest)
	}
	return "`" + escape(write) + "`"
}

func escape(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// split takes the fields out that a route has, too.
func split[T any](fields []field[T], routes map[string]bool) (rest, shared []field[T]) {
	for _, f := range fields {
		if routes[f.key] {
			shared = append(shared, f)
		} else {
			rest = append(rest, f)
		}
	}
	return rest, shared
}
