package starttls

import (
	"slices"
	"strings"
)

// A kind is what a command means here.
type kind uint8

const (
	other        kind = iota
	start             // STARTTLS
	capabilities      // asks what the server can do
	harmless          // may be said before TLS
)

// A speech is how one protocol says things.
type speech struct {
	optional bool // the client may go on without TLS
	// command reads a client's line.
	command func(line string) (tag string, kind kind)
	// ready says that TLS begins now, refuse that it must.
	ready, refuse func(tag string) string
	// last tells whether line n is the last of the answer to a command.
	last func(to, line string, n int) bool
	// edit makes the server's capabilities ours.
	edit func(answer []byte, secure bool) []byte
}

func dialect(protocol string) (speech, bool) {
	switch protocol {
	case "smtp":
		return speech{
			optional: true,
			command:  smtpCommand,
			ready:    func(string) string { return "220 2.0.0 Ready to start TLS\r\n" },
			last:     func(_, line string, _ int) bool { return len(line) < 5 || line[3] != '-' },
			edit:     editSMTP,
		}, true
	case "imap":
		return speech{
			command: imapCommand,
			ready:   func(tag string) string { return tag + " OK Begin TLS negotiation now\r\n" },
			refuse:  func(tag string) string { return tag + " NO [PRIVACYREQUIRED] TLS is required; say STARTTLS first\r\n" },
			last: func(to, line string, _ int) bool {
				tag, _, _ := strings.Cut(to, " ")
				return to == "" || strings.HasPrefix(line, tag+" ")
			},
			edit: editIMAP,
		}, true
	case "pop3":
		return speech{
			command: popCommand,
			ready:   func(string) string { return "+OK Begin TLS negotiation\r\n" },
			refuse:  func(string) string { return "-ERR TLS is required; say STLS first\r\n" },
			last: func(to, line string, n int) bool {
				_, kind := popCommand(to)
				return kind != capabilities || n == 0 && !strings.HasPrefix(line, "+OK") || strings.TrimRight(line, "\r\n") == "."
			},
			edit: editPOP,
		}, true
	}
	return speech{}, false
}

// verb is a command's first word in capitals, and whether more follows.
func verb(line string) (word string, more bool) {
	word, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return strings.ToUpper(word), strings.TrimSpace(rest) != ""
}

func smtpCommand(line string) (string, kind) {
	switch word, more := verb(line); {
	case word == "STARTTLS" && !more:
		return "", start
	case word == "EHLO":
		return "", capabilities
	case slices.Contains([]string{"HELO", "NOOP", "RSET", "QUIT"}, word):
		return "", harmless
	}
	return "", other
}

func popCommand(line string) (string, kind) {
	switch word, more := verb(line); {
	case word == "STLS" && !more:
		return "", start
	case word == "CAPA" && !more:
		return "", capabilities
	case word == "NOOP", word == "QUIT":
		return "", harmless
	}
	return "", other
}

// imapCommand reads TAG COMMAND. A tag that is none is "*", which the client
// takes for nothing of its own.
func imapCommand(line string) (string, kind) {
	tag, rest, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	if tag == "" || strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`(){%*"\]+`, r) }) {
		return "*", other
	}
	switch word, more := verb(rest); {
	case more:
	case word == "STARTTLS":
		return tag, start
	case word == "CAPABILITY":
		return tag, capabilities
	case word == "NOOP", word == "LOGOUT":
		return tag, harmless
	}
	return tag, other
}

// editSMTP edits the lines behind the first one of an answer to EHLO.
func editSMTP(answer []byte, secure bool) []byte {
	lines := slices.Collect(strings.Lines(string(answer)))
	if !strings.HasPrefix(lines[0], "250") {
		return answer
	}
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return strings.EqualFold(strings.TrimSpace(line[min(4, len(line)):]), "STARTTLS")
	})
	if !secure {
		lines = append(lines, "250-STARTTLS\r\n")
	}
	var b strings.Builder
	for i, line := range lines {
		mark := "-"
		if i == len(lines)-1 {
			mark = " "
		}
		b.WriteString("250" + mark + line[min(4, len(line)):])
	}
	return []byte(b.String())
}

// editPOP edits an answer to CAPA. A server that has no CAPA gets one of ours.
func editPOP(answer []byte, secure bool) []byte {
	text := string(answer)
	if !strings.HasSuffix(text, "\n.\r\n") && !strings.HasSuffix(text, "\n.\n") {
		return answer // the greeting, or -ERR
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		word, _ := verb(line)
		switch {
		case word == "STLS", !secure && (word == "USER" || word == "SASL"):
			continue
		case word == "." && !secure:
			b.WriteString("STLS\r\n")
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}

// editIMAP edits capabilities: an untagged line, or a code in a greeting.
func editIMAP(answer []byte, secure bool) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(answer)) {
		upper := strings.ToUpper(line)
		from, to := strings.Index(upper, "[CAPABILITY "), strings.Index(line, "]")
		switch {
		case strings.HasPrefix(upper, "* CAPABILITY "):
			b.WriteString("* CAPABILITY" + imapWords(line[len("* CAPABILITY"):], secure) + "\r\n")
		case from >= 0 && to > from:
			b.WriteString(line[:from] + "[CAPABILITY" + imapWords(line[from+len("[CAPABILITY"):to], secure) + line[to:])
		default:
			b.WriteString(line)
		}
	}
	return []byte(b.String())
}

// imapWords are capabilities, each behind a space. RFC 9051 §6.2.1,
// LOGINDISABLED: no password goes over a plain connection.
func imapWords(text string, secure bool) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(text) {
		upper := strings.ToUpper(word)
		if upper == "STARTTLS" || upper == "LOGINDISABLED" || !secure && strings.HasPrefix(upper, "AUTH=") {
			continue
		}
		b.WriteString(" " + word)
	}
	if !secure {
		b.WriteString(" STARTTLS LOGINDISABLED")
	}
	return b.String()
}
