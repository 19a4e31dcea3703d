package main

import (
	"fmt"
	"math"
	"time"

	"genkan/proxy"
	"genkan/proxy/certs"
)

// certificates tells how long each certificate lasts, and whether the last attempt to have a new one failed.
func (s sink) certificates(p proxy.Stats) {
	now := time.Now()
	for _, c := range distinctCertificates(p.Certificates) {
		name, source := label{"name", c.Name}, label{"source", c.Source}
		s.gauge("genkan_certificate_error", "1 where the last order, renewal or reading of a certificate failed.", truth(c.Error != ""), name, source)
		if c.NotAfter.IsZero() {
			s.gauge("genkan_certificate_days_left", "Days until a certificate ends; below 0 it has ended, -1 also where there is none yet.", -1, name, source)
			continue
		}
		s.gauge("genkan_certificate_days_left", "Days until a certificate ends; below 0 it has ended, -1 also where there is none yet.", daysLeft(c, now), name, source)
		s.gauge("genkan_certificate_not_after_seconds", "When a certificate ends, in Unix time.", float64(c.NotAfter.Unix()), name, source)
	}
}

// distinctCertificates takes of several pairs of files for one name the one that ends first, with the fault of any.
func distinctCertificates(all []certs.Status) []certs.Status {
	type key struct{ name, source string }
	at := make(map[key]int)
	var worst []certs.Status
	for _, c := range all {
		i, ok := at[key{c.Name, c.Source}]
		if !ok {
			at[key{c.Name, c.Source}] = len(worst)
			worst = append(worst, c)
			continue
		}
		if c.Error == "" {
			c.Error = worst[i].Error
		}
		if worst[i].NotAfter.Before(c.NotAfter) {
			worst[i].Error = c.Error
		} else {
			worst[i] = c
		}
	}
	return worst
}

func daysLeft(c certs.Status, now time.Time) float64 { return c.NotAfter.Sub(now).Hours() / 24 }

// certificateWords is a certificate for people, in one line.
func certificateWords(c certs.Status, now time.Time) string {
	text := "certificate " + c.Name
	switch left := daysLeft(c, now); {
	case c.NotAfter.IsZero():
		text += ": none yet"
	case left < 0:
		text += fmt.Sprintf(": EXPIRED on %s, of %s", c.NotAfter.UTC().Format(time.DateOnly), c.Issuer)
	default:
		text += fmt.Sprintf(": %d days left, of %s", int(math.Floor(left)), c.Issuer)
	}
	if c.File != "" {
		text += " in " + c.File
	}
	if c.Error != "" {
		text += "; " + c.Error
	}
	if !c.Next.IsZero() {
		text += "; next try " + c.Next.UTC().Format(time.RFC3339)
	}
	return text
}
