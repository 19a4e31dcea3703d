package main

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"genkan/proxy"
	"genkan/proxy/certs"
)

// Every state of a certificate, as the doctor and "genkan status" tell it.
func TestCertificateWords(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(days int) time.Time { return now.AddDate(0, 0, days) }
	for _, row := range []struct {
		severity, found, words string
		certs.Status
	}{
		{"ok", "a.jp lasts until 2026-05-30", "certificate a.jp: 90 days left, of R3",
			certs.Status{Name: "a.jp", Source: "acme", Issuer: "R3", NotAfter: at(90)}},
		{"ok", "a.jp lasts until 2026-03-06", "certificate a.jp: 5 days left, of R3",
			certs.Status{Name: "a.jp", Source: "acme", Issuer: "R3", NotAfter: at(5)}},
		{"warn", "a.jp ends on 2026-03-06", "certificate a.jp: 5 days left, of R3 in /a.pem",
			certs.Status{Name: "a.jp", Source: "file", File: "/a.pem", Issuer: "R3", NotAfter: at(5)}},
		{"warn", "a.jp ends on 2026-03-11: no answer", "certificate a.jp: 10 days left, of R3; no answer; next try 2026-03-02T12:00:00Z",
			certs.Status{Name: "a.jp", Source: "acme", Issuer: "R3", NotAfter: at(10), Error: "no answer", Next: at(1)}},
		{"bad", "a.jp: ended on 2026-02-28", "certificate a.jp: EXPIRED on 2026-02-28, of R3 in /a.pem",
			certs.Status{Name: "a.jp", Source: "file", File: "/a.pem", Issuer: "R3", NotAfter: at(-1)}},
		{"bad", "a.jp: ended on 2026-02-28: no answer", "certificate a.jp: EXPIRED on 2026-02-28, of R3; no answer",
			certs.Status{Name: "a.jp", Source: "acme", Issuer: "R3", NotAfter: at(-1), Error: "no answer"}},
		{"bad", "a.jp has none: no answer", "certificate a.jp: none yet; no answer",
			certs.Status{Name: "a.jp", Source: "acme", Error: "no answer"}},
		{"warn", "a.jp: the first order is on its way", "certificate a.jp: none yet",
			certs.Status{Name: "a.jp", Source: "acme"}},
	} {
		d := certificateDiagnosis(row.Status, now)
		if d.Severity != row.severity || d.Found != row.found || (d.Severity == "bad") != (d.Why != "" && d.Fix != "") && d.Severity != "warn" {
			t.Errorf("doctor: %+v, want %s %q", d, row.severity, row.found)
		}
		if got := certificateWords(row.Status, now); got != row.words {
			t.Errorf("status: %q, want %q", got, row.words)
		}
	}
}

// What an alarm is set on: days left, also where there are none, and whether something failed. A name in several pairs
// of files is one metric, of the worst: two would spoil the whole answer.
func TestCertificateMetrics(t *testing.T) {
	now := time.Now()
	out := make(chan prometheus.Metric, 20)
	sink(out).certificates(proxy.Stats{Certificates: []certs.Status{
		{Name: "a.jp", Source: "acme", NotAfter: now.Add(48 * time.Hour)},
		{Name: "b.jp", Source: "acme", Error: "no answer"},
		{Name: "c.jp", Source: "file", File: "/c1.pem", NotAfter: now.Add(24 * time.Hour), Error: "half written"},
		{Name: "c.jp", Source: "file", File: "/c2.pem", NotAfter: now.Add(-24 * time.Hour)},
		{Name: "c.jp", Source: "file", File: "/c3.pem", NotAfter: now.Add(72 * time.Hour)},
	}})
	close(out)
	got := map[string]float64{}
	for m := range out {
		var d dto.Metric
		if err := m.Write(&d); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(m.Desc().String(), `Desc{fqName: "genkan_certificate_`), `"`)
		got[name+" "+d.GetLabel()[0].GetValue()+" "+d.GetLabel()[1].GetValue()] = math.Round(d.GetGauge().GetValue())
	}
	want := map[string]float64{
		"days_left a.jp acme": 2, "error a.jp acme": 0, "not_after_seconds a.jp acme": float64(now.Add(48 * time.Hour).Unix()),
		"days_left b.jp acme": -1, "error b.jp acme": 1,
		"days_left c.jp file": -1, "error c.jp file": 1, "not_after_seconds c.jp file": float64(now.Add(-24 * time.Hour).Unix()),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
