package config

import (
	"genkan/proxy/accesslog"
)

// A Log is [log], or what access_log of a site or forward says in its place.
type Log struct {
	Access Text   // where to; "off": nowhere
	Format string // "combined" or "json"; "": of [log], else combined
}

func logFields() []field[Log] {
	return []field[Log]{
		{"access", `"/var/log/genkan/access.log"`, "where a line goes about each request, connection and UDP session: a file, \"stdout\", \"syslog\", \"syslog:/run/log.sock\" or \"syslog:udp/192.0.2.1:514\"; nowhere without it. SIGUSR1 opens files anew",
			func(d *decoder, l *Log, v *value) { l.Access = d.text(v) }},
		{"format", `"json"`, "\"combined\" (default), as Apache and nginx write it, or \"json\" with all that is known",
			func(d *decoder, l *Log, v *value) { l.Format = d.choice(v, "combined", "json") }},
	}
}

func accessLogFields() []field[Log] {
	return []field[Log]{
		{"to", `"/var/log/genkan/www.log"`, "as log.access", func(d *decoder, l *Log, v *value) { l.Access = d.text(v) }},
		{"format", `"json"`, "as log.format, which holds without it", logFields()[1].set},
	}
}

// accessLog reads access_log: a destination, or one with its format.
func (d *decoder) accessLog(v *value) Log {
	l := Log{}
	if v.kind == inline {
		if sub(d, v, accessLogFields(), &l); !l.Access.Given() {
			d.mistake(v.pos, "access_log: there is no to in here; write { to = \"/var/log/genkan/www.log\" }")
		}
		return l
	}
	l.Access = d.text(v)
	return l
}

// logTo translates what a service says of its log; what it does not say, [log] does.
func (k *checker) logTo(l Log) accesslog.Spec {
	if !l.Access.Given() {
		l.Access = k.c.Log.Access
	}
	if l.Format == "" {
		l.Format = k.c.Log.Format
	}
	if l.Access.S == "" || l.Access.S == "off" {
		return accesslog.Spec{}
	}
	spec := accesslog.Spec{To: l.Access.S}
	if l.Format == "json" {
		spec.Format = accesslog.JSON
	}
	if err := accesslog.CheckTo(spec.To); err != nil {
		if !k.told[l.Access.Pos] {
			k.mistake(l.Access.Pos, "access log %v", err)
			k.told[l.Access.Pos] = true
		}
		return accesslog.Spec{}
	}
	return spec
}
