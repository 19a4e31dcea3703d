package config

import (
	"slices"
	"strconv"
	"strings"

	"genkan/proxy"
	"genkan/proxy/exchange"
	"genkan/proxy/message"
)

// A Handling is what becomes of the requests of a site or route.
type Handling struct {
	Redirect    Text // web.ParseRedirect
	Status      int  // of a redirect or an answer of our own; 0: the usual
	Body        Text // the answer itself, or
	File        Text // the file that it is in, relative to the configuration file
	ContentType Text // of the two; not given: by the file's name
	Request     Edits
	Response    Edits
	MaxBody     int // bytes; 0: no bound
	MaxHeader   int // bytes; 0: 64 KiB, as of all requests
	ErrorPages  []ErrorPage
	Auth        Auth

	hasStatus bool
}

// An ErrorPage is one key of error_pages = { … }.
type ErrorPage struct {
	Status string // "502", or "5xx"
	File   Text
}

// answers reports whether requests need no backend.
func (h *Handling) answers() bool {
	return h.Redirect.Given() || h.hasStatus || h.Body.Given() || h.File.Given()
}

func handlingFields[T any](of func(*T) *Handling) []field[T] {
	return []field[T]{
		{"redirect", `"https://www.example.jp{path}"`, "sends clients elsewhere in the place of to: a URL or a path; {path} is path and query of the request, {host} the name in Host",
			func(d *decoder, t *T, v *value) { of(t).Redirect = d.text(v) }},
		{"status", `503`, "answers without a backend: 200 to 599 (200 with body or file), of a redirect 301, 302 (default), 303, 307 or 308",
			func(d *decoder, t *T, v *value) { of(t).hasStatus = true; of(t).Status = d.number(v, 200, 599) }},
		{"body", `"Back at noon."`, "the content of that answer",
			func(d *decoder, t *T, v *value) { of(t).Body = d.text(v) }},
		{"file", `"maintenance.html"`, "the file that the content is in, 1 MiB at most; read at start and reload",
			func(d *decoder, t *T, v *value) { of(t).File = d.text(v) }},
		{"content_type", `"text/html; charset=utf-8"`, "of body and file; by the file's name without it, else plain text",
			func(d *decoder, t *T, v *value) { of(t).ContentType = d.text(v) }},
		{"request_headers", `{ set = { X-Env = "prod" } }`, "edits of what the backend gets; a route's come behind the site's",
			func(d *decoder, t *T, v *value) { sub(d, v, editFields(), &of(t).Request) }},
		{"response_headers", `{ remove = ["X-Powered-By"] }`, "edits of what the client gets, from backends or from us",
			func(d *decoder, t *T, v *value) { sub(d, v, editFields(), &of(t).Response) }},
		{"max_body", `"10MiB"`, "the content of a request, above it 413; no bound without it",
			func(d *decoder, t *T, v *value) { of(t).MaxBody = d.size(v, 1, 1<<50) }},
		{"max_header", `"16KiB"`, "target and fields of a request, above it 431; 64KiB without it, and at most",
			func(d *decoder, t *T, v *value) { of(t).MaxHeader = d.size(v, 256, 64<<10) }},
		{"basic_auth", `"staff.htpasswd" or { file = "staff.htpasswd", realm = "Staff" }`, "asks for a name and password after access: a file of htpasswd -B, or lines NAME:HASH of genkan hash; limit attempts by access",
			func(d *decoder, t *T, v *value) { of(t).Auth = d.auth(v) }},
		{"error_pages", `{ 502 = "502.html", 4xx = "error.html" }`, "files in the place of our own error pages, by status, 4xx or 5xx",
			func(d *decoder, t *T, v *value) { of(t).ErrorPages = d.errorPages(v) }},
	}
}

// errorPages reads { STATUS = "FILE" }.
func (d *decoder) errorPages(v *value) []ErrorPage {
	file := stringSchema()
	if d.says(schema{Type: "object", Rest: &file}) {
		return nil
	}
	if v.kind != inline {
		d.wrong(v)
		return nil
	}
	var pages []ErrorPage
	for _, e := range v.table.entries {
		n, err := strconv.Atoi(e.key)
		if e.key != "4xx" && e.key != "5xx" && (err != nil || n < 400 || n > 599) {
			d.mistake(e.pos, "error_pages: %s is no status of an error; write 400 to 599, 4xx or 5xx", quote(e.key))
			continue
		}
		if file := d.text(e.val); file.Given() {
			pages = append(pages, ErrorPage{e.key, file})
		}
	}
	return pages
}

// size reads a number of bytes: 1048576, "1024KiB", "1MiB".
func (d *decoder) size(v *value, low, high int64) int {
	number, text := schema{Type: "integer", Minimum: &low, Maximum: &high}, schema{Type: "string", Pattern: "^[0-9]+([KMGT]iB)?$"}
	if d.says(schema{AnyOf: []*schema{&number, &text}}) {
		return 0
	}
	if v.kind == integer {
		return d.number(v, low, high)
	}
	t := d.text(v)
	if !t.Given() {
		return 0
	}
	digits, shift := t.S, 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if before, ok := strings.CutSuffix(t.S, unit); ok {
			digits, shift = before, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 63-shift)
	switch {
	case err != nil:
		d.mistake(v.pos, "%s: %s is no size; write a number of bytes, or one with KiB, MiB or GiB, as %s", d.key, quote(t.S), d.write)
	case n<<shift < low || n<<shift > high:
		d.mistake(v.pos, "%s: %s is outside %d–%d bytes; write a size in between", d.key, quote(t.S), low, high)
	default:
		return int(n << shift)
	}
	return 0
}

// handling translates what becomes of requests, and reads the files of it.
func (k *checker) handling(h *Handling, site string) proxy.Handling {
	out := proxy.Handling{MaxBody: int64(h.MaxBody), MaxHeader: h.MaxHeader, Request: h.Request.edits(), Response: h.Response.edits()}
	content := h.Body
	if h.File.Given() {
		content = h.File
	}
	switch {
	case h.Body.Given() && h.File.Given():
		k.mistake(h.File.Pos, "file %q and body are both the content of one answer; keep one of them", h.File.S)
	case h.Redirect.Given() && content.Given():
		k.mistake(content.Pos, "a redirect has no content of its own; take body and file away")
	case h.ContentType.Given() && !content.Given():
		k.mistake(h.ContentType.Pos, "content_type %q: there is neither body nor file that it could be of; write one", h.ContentType.S)
	}
	if h.ContentType.Given() && !message.IsValue(h.ContentType.S) {
		k.mistake(h.ContentType.Pos, "content_type %q has a control byte, or a space at its ends; take it out", h.ContentType.S)
	}
	if h.answers() {
		out.Answer = &proxy.Answer{Status: h.Status, Redirect: h.Redirect.S, Page: exchange.Page{Type: h.ContentType.S, Text: h.Body.S}}
	}
	if h.File.Given() {
		out.Answer.Page = k.page(h.File)
		if h.ContentType.Given() {
			out.Answer.Page.Type = h.ContentType.S
		}
	}
	out.ErrorPages = k.errorPages(h.ErrorPages)
	out.Auth = k.auth(h.Auth, site)
	return out
}

// errorPages reads the files of error_pages. A status by itself wins over its class.
func (k *checker) errorPages(all []ErrorPage) map[int]exchange.Page {
	if len(all) == 0 {
		return nil
	}
	pages := map[int]exchange.Page{}
	for _, class := range []bool{true, false} {
		for _, p := range all {
			if strings.HasSuffix(p.Status, "xx") != class {
				continue
			}
			page := k.page(p.File)
			first, _ := strconv.Atoi(strings.Replace(p.Status, "xx", "00", 1))
			last := first
			if class {
				last += 99
			}
			for status := first; status <= last; status++ {
				pages[status] = page
			}
		}
	}
	return pages
}

// largestPage bounds a file that is served from memory, in bytes.
const largestPage = 1 << 20

// page reads a file that is to be served.
func (k *checker) page(file Text) exchange.Page {
	src, err := readBounded(relative(file))
	switch {
	case err != nil:
		k.mistake(file.Pos, "file %q: %s", file.S, cause(err))
	case len(src) > largestPage:
		k.mistake(file.Pos, "file %q has %d bytes, and is kept in memory; write one of 1 MiB at most, or let a server behind have it", file.S, len(src))
	}
	name := file.S[strings.LastIndexByte(file.S, '.')+1:]
	kinds := []string{"html", "text/html; charset=utf-8", "htm", "text/html; charset=utf-8", "json", "application/json",
		"xml", "application/xml", "svg", "image/svg+xml", "png", "image/png", "jpg", "image/jpeg", "ico", "image/x-icon", "css", "text/css", "js", "text/javascript"}
	if i := slices.Index(kinds, strings.ToLower(name)); i >= 0 {
		return exchange.Page{Type: kinds[i+1], Text: string(src)}
	}
	return exchange.Page{Text: string(src)}
}
