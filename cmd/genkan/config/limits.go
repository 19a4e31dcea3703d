package config

// Limits is [limits]: what HTTP clients may do, and what all may use. Zero is the default of each.
type Limits struct {
	HeaderBytes, LineBytes, HeaderFields, Streams, ControlFrames, Aborts, BodyRate, ClientConns, Handshakes int
	Memory                                                                                                  int64
}

func limitFields() []field[Limits] {
	return []field[Limits]{
		{"header_bytes", `65536`, "bytes of a request's line and fields", func(d *decoder, l *Limits, v *value) { l.HeaderBytes = d.number(v, 1024, 1<<20) }},
		{"line_bytes", `8192`, "bytes of a request's line, above them 414, and of each field, above them 431", func(d *decoder, l *Limits, v *value) { l.LineBytes = d.number(v, 256, 1<<20) }},
		{"header_fields", `200`, "fields of a request", func(d *decoder, l *Limits, v *value) { l.HeaderFields = d.number(v, 10, 10_000) }},
		{"streams", `100`, "requests at once on one connection of HTTP/2 or HTTP/3", func(d *decoder, l *Limits, v *value) { l.Streams = d.number(v, 1, 10_000) }},
		{"control_frames", `1000`, "frames a second of an HTTP/2 connection that bring nothing", func(d *decoder, l *Limits, v *value) { l.ControlFrames = d.number(v, 10, 1<<20) }},
		{"aborts", `200`, "requests of an HTTP/2 or HTTP/3 connection that are given up within 30 s, where they are more than half", func(d *decoder, l *Limits, v *value) { l.Aborts = d.number(v, 10, 1<<20) }},
		{"body_rate", `64`, "bytes a second that a request's content brings on average", func(d *decoder, l *Limits, v *value) { l.BodyRate = d.number(v, 1, 1<<30) }},
		{"client_conns", `1024`, "HTTP connections at once of one IPv4 address or IPv6 /64, four times as many of a /48; a quarter of max_conns, at least 256, without it",
			func(d *decoder, l *Limits, v *value) { l.ClientConns = d.number(v, 1, 1<<22) }},
		{"handshakes", `100`, "of HTTP/3 in a second, before clients have to prove their address first", func(d *decoder, l *Limits, v *value) { l.Handshakes = d.number(v, 1, 1<<20) }},
		{"memory", `"512MiB"`, "of which at 80 % HTTP connections end after an answer, at 90 % requests get 503, at 95 % nobody is accepted; what the control group or the machine has without it",
			func(d *decoder, l *Limits, v *value) { l.Memory = int64(d.size(v, 32<<20, 1<<50)) }},
	}
}
