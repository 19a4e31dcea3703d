package starttls

import (
	"strings"
	"testing"
)

func TestEdit(t *testing.T) {
	for _, row := range []struct {
		name, protocol string
		secure         bool
		answer, want   string
	}{
		{"ehlo", "smtp", false, "250-mx\r\n250-SIZE 1\r\n250 8BITMIME\r\n", "250-mx\r\n250-SIZE 1\r\n250-8BITMIME\r\n250 STARTTLS\r\n"},
		{"ehlo-one-line", "smtp", false, "250 mx\r\n", "250-mx\r\n250 STARTTLS\r\n"},
		{"ehlo-own", "smtp", false, "250-mx\r\n250-StartTLS\r\n250 SIZE\r\n", "250-mx\r\n250-SIZE\r\n250 STARTTLS\r\n"},
		{"ehlo-secure", "smtp", true, "250-mx\r\n250-SIZE\r\n250 STARTTLS\r\n", "250-mx\r\n250 SIZE\r\n"},
		{"ehlo-refused", "smtp", false, "502 what?\r\n", "502 what?\r\n"},
		{"greeting", "smtp", false, "220 mx ESMTP\r\n", "220 mx ESMTP\r\n"},
		{"capability", "imap", false, "* CAPABILITY IMAP4rev1 AUTH=PLAIN IDLE\r\na OK done\r\n", "* CAPABILITY IMAP4rev1 IDLE STARTTLS LOGINDISABLED\r\na OK done\r\n"},
		{"capability-secure", "imap", true, "* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED\r\na OK done\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na OK done\r\n"},
		{"imap-greeting", "imap", false, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] Dovecot ready.\r\n", "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] Dovecot ready.\r\n"},
		{"imap-plain-greeting", "imap", false, "* OK hello\r\n", "* OK hello\r\n"},
		{"capa", "pop3", false, "+OK\r\nUIDL\r\nUSER\r\nSASL PLAIN\r\n.\r\n", "+OK\r\nUIDL\r\nSTLS\r\n.\r\n"},
		{"capa-secure", "pop3", true, "+OK\r\nUIDL\r\nUSER\r\nSTLS\r\n.\r\n", "+OK\r\nUIDL\r\nUSER\r\n.\r\n"},
		{"capa-refused", "pop3", false, "-ERR\r\n", "-ERR\r\n"},
		{"pop3-greeting", "pop3", false, "+OK ready\r\n", "+OK ready\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			speech, _ := dialect(row.protocol)
			if got := string(speech.edit([]byte(row.answer), row.secure)); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// FuzzCommand: no line is STARTTLS but the one that says so, and no answer of
// ours has a line more than it should.
func FuzzCommand(f *testing.F) {
	f.Add("STARTTLS\r\n")
	f.Add("a STARTTLS\r\n")
	f.Add("stls\n")
	f.Fuzz(func(t *testing.T, line string) {
		line = strings.ReplaceAll(line, "\n", "") + "\n"
		for protocol, word := range map[string]string{"smtp": "STARTTLS", "imap": "STARTTLS", "pop3": "STLS"} {
			speech, _ := dialect(protocol)
			tag, kind := speech.command(line)
			fields := strings.Fields(strings.ToUpper(line))
			if kind == start && (len(fields) == 0 || fields[len(fields)-1] != word) {
				t.Errorf("%s: %q is taken for %s", protocol, line, word)
			}
			if strings.Count(speech.ready(tag), "\n") != 1 || speech.refuse != nil && strings.Count(speech.refuse(tag), "\n") != 1 {
				t.Errorf("%s: %q is answered by several lines", protocol, line)
			}
		}
	})
}
