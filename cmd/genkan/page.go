package main

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"genkan/proxy"
)

// The status page: HTML that is whole without JavaScript, which only loads it again.
//
//go:embed page
var pageFiles embed.FS

// pageRows bounds each table of the page.
const pageRows = 200

// pagePolicy lets the page load what is ours, and nothing else (CSP level 3).
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// A pageView is what the page shows: no secret, and nothing of a client.
type pageView struct {
	Front    string
	Now      time.Time
	State    runState
	Rates    []familyRate
	Services []pageService
	Backends []pageState
	Certs    []pageState
	Rules    []proxy.RuleStats
	Limits   []proxy.LimitStats
	Lists    []listState
	Drops    []pageDrop
	Findings []diagnosis
	Looked   time.Time // when Findings were found; zero: not yet
	More     int       // sites and forwards that are not shown
}

// A pageService is a site or forward in the last minute or two.
type pageService struct {
	proxy.ServiceStats
	Rate, Denied, Failed float64 // a second
	P50, P95, P99        string
}

// A pageState is a thing with a name and how it stands.
type pageState struct{ Name, Of, Facts, Class, State string }

type pageDrop struct {
	Reason string
	Count  uint64
}

// pageRoutes are the page and what belongs to it.
func (f *front) pageRoutes() []route {
	shown := template.Must(template.New("page.html").Funcs(template.FuncMap{
		"chart": chart, "rate": rateWords, "bytes": bytesOf, "share": share, "time": clockWords, "when": ruleAt,
	}).ParseFS(pageFiles, "page/page.html"))
	file := func(name, kind string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			text, _ := pageFiles.ReadFile("page/" + name) // it is embedded
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(text) // the asker has gone: nobody is left to tell
		}
	}
	return []route{
		{"GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
			var text bytes.Buffer
			if err := shown.Execute(&text, f.page()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = text.WriteTo(w)
		}},
		{"GET /page.css", file("page.css", "text/css; charset=utf-8")},
		{"GET /page.js", file("page.js", "text/javascript; charset=utf-8")},
	}
}

// page collects what is shown.
func (f *front) page() pageView {
	v := pageView{Front: hostname(), Now: time.Now(), State: f.state(), Rates: f.history.rates()}
	p := v.State.Proxy
	v.Services, v.More = pageServices(p.Services, f.history.before(), v.Now)
	for _, b := range distinctBackends(p.Backends) {
		colour, words := backendWords(b)
		v.Backends = append(v.Backends, pageState{b.Backend, b.Kind + " " + b.Name,
			fmt.Sprintf("%d open, %d in all, %d failed", b.Open, b.Total, b.Failures), classOf(colour), words})
	}
	for _, c := range p.Certificates {
		colour, words := certWords(c, v.Now)
		days := "–"
		if !c.NotAfter.IsZero() {
			days = fmt.Sprintf("%d days left", int(math.Floor(daysLeft(c, v.Now))))
		}
		v.Certs = append(v.Certs, pageState{c.Name, c.Source, days, classOf(colour), words})
	}
	v.Backends, v.Certs = worstFirst(v.Backends), worstFirst(v.Certs)
	v.Rules = slices.DeleteFunc(p.Rules, func(r proxy.RuleStats) bool { return r.Allowed+r.Denied+r.Gated == 0 })
	slices.SortStableFunc(v.Rules, func(a, b proxy.RuleStats) int {
		return cmp.Compare(b.Denied+b.Gated, a.Denied+a.Gated)
	})
	v.Rules = v.Rules[:min(len(v.Rules), pageRows)]
	v.Limits = slices.DeleteFunc(p.Limits, func(l proxy.LimitStats) bool { return l.Bites == 0 })
	if all, err := f.lists.state(""); err == nil {
		v.Lists = all.Lists
	}
	if v.State.Tunnel != nil {
		for reason, n := range v.State.Tunnel.Drops {
			if n > 0 {
				v.Drops = append(v.Drops, pageDrop{reason, n})
			}
		}
		slices.SortFunc(v.Drops, func(a, b pageDrop) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason)) })
	}
	v.Looked, v.Findings = f.findings.last()
	return v
}

// pageServices are the busiest sites and forwards, and how many more there are.
func pageServices(all []proxy.ServiceStats, before servicesSample, now time.Time) ([]pageService, int) {
	seconds := max(now.Sub(before.at).Seconds(), 1)
	var shown []pageService
	for _, s := range all {
		was := before.services[[2]string{s.Kind, s.Name}]
		rate := func(was, is int64) float64 { return float64(max(is-was, 0)) / seconds }
		waited := s.Waited.Since(was.Waited)
		shown = append(shown, pageService{s, rate(was.Allowed, s.Allowed), rate(was.Denied, s.Denied), rate(was.Failed, s.Failed),
			quantileWords(waited, 0.5), quantileWords(waited, 0.95), quantileWords(waited, 0.99)})
	}
	slices.SortStableFunc(shown, func(a, b pageService) int { return cmp.Compare(b.Rate, a.Rate) })
	n := min(len(shown), pageRows)
	return shown[:n], len(shown) - n
}

// worstFirst brings up what stands badly, and leaves out what is too much.
func worstFirst(all []pageState) []pageState {
	rank := map[string]int{"bad": 0, "warn": 1, "ok": 2}
	slices.SortStableFunc(all, func(a, b pageState) int { return cmp.Compare(rank[a.Class], rank[b.Class]) })
	return all[:min(len(all), pageRows)]
}

// classOf is the CSS class of a terminal's colour.
func classOf(colour string) string {
	return map[string]string{red: "bad", yellow: "warn", green: "ok"}[colour]
}

func rateWords(perSecond float64) string { return strconv.FormatFloat(perSecond, 'f', 1, 64) + "/s" }

func clockWords(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// share is IPv6's part of all connections, in words.
func share(p proxy.Stats) string {
	all := p.IPv4.Accepted + p.IPv6.Accepted
	if all == 0 {
		return "no connection yet"
	}
	return fmt.Sprintf("%.0f %% of %d by IPv6", 100*float64(p.IPv6.Accepted)/float64(all), all)
}

// chart draws the rates of both families above each other, as SVG.
func chart(rates []familyRate) template.HTML {
	const width, height = 720.0, 120.0
	most := 0.1
	for _, r := range rates {
		most = max(most, r.ipv4+r.ipv6)
	}
	area := func(class string, low, high func(familyRate) float64) string {
		points := ""
		x := func(i int) float64 { return float64(i) * width / float64(max(len(rates)-1, 1)) }
		for i, r := range rates {
			points += fmt.Sprintf("%.1f,%.1f ", x(i), height-high(r)/most*height)
		}
		for i, r := range slices.Backward(rates) {
			points += fmt.Sprintf("%.1f,%.1f ", x(i), height-low(r)/most*height)
		}
		return fmt.Sprintf(`<polygon class="%s" points="%s"/>`, class, points)
	}
	zero := func(familyRate) float64 { return 0 }
	six := func(r familyRate) float64 { return r.ipv6 }
	both := func(r familyRate) float64 { return r.ipv4 + r.ipv6 }
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" preserveAspectRatio="none"><title>New connections a second, IPv6 below IPv4; at most %.1f</title>%s%s</svg>`,
		width, height, most, area("six", zero, six), area("four", six, both))) // numbers only
}
