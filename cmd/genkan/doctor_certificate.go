package main

import (
	"context"
	"fmt"
	"time"

	"genkan/proxy/certs"
)

// endsSoon is when somebody should look after a certificate that he renews himself.
const endsSoon = 14 // days

// checkCertificates tells which certificates are missing or end, as the running Genkan knows. Its orders look first
// whether a name leads here, so what they found is the doctor's finding too.
func checkCertificates(_ context.Context, p *patient) []diagnosis {
	if p.running == nil {
		return nil
	}
	var all []diagnosis
	now := time.Now()
	for _, c := range p.running.Proxy.Certificates {
		all = append(all, certificateDiagnosis(c, now))
	}
	return all
}

func certificateDiagnosis(c certs.Status, now time.Time) diagnosis {
	left := daysLeft(c, now)
	ends := c.NotAfter.UTC().Format(time.DateOnly)
	fix := "do as that line says, then: genkan reload"
	if c.Source == "file" {
		fix = fmt.Sprintf("renew it and write it to %s; it is read by itself", c.File)
	}
	switch {
	case c.NotAfter.IsZero() && c.Error == "":
		return found("certificate", warn, "%s: the first order is on its way", c.Name)
	case c.NotAfter.IsZero():
		return found("certificate", bad, "%s has none: %s", c.Name, c.Error).because("TLS clients of this name are refused.", fix)
	case left < 0 && c.Error != "":
		return found("certificate", bad, "%s: ended on %s: %s", c.Name, ends, c.Error).because("Clients refuse it.", fix)
	case left < 0:
		return found("certificate", bad, "%s: ended on %s", c.Name, ends).because("Clients refuse it.", fix)
	case c.Error != "":
		return found("certificate", warn, "%s ends on %s: %s", c.Name, ends, c.Error).because("Clients refuse it from then on.", fix)
	case c.Source == "file" && left < endsSoon:
		return found("certificate", warn, "%s ends on %s", c.Name, ends).because("Clients refuse it from then on.", fix)
	}
	return found("certificate", fine, "%s lasts until %s", c.Name, ends)
}
