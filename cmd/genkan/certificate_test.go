package main

import (
	"testing"
	"time"

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
