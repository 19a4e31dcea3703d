package ftp

import (
	"net/netip"
	"strconv"
	"strings"
)

// A verb is a command that the gateway knows.
type verb uint8

const (
	other verb = iota
	epsv
	pasv
	eprt
	port
	auth
	none    // an empty line: some servers answer it, some do not
	nothing // no command: what one server cannot read, another may
	foreign // of addresses that cannot be translated: LPRT and LPSV (RFC 1639), CPSV (from server to server)
	urgent  // may come in the midst of a transfer, behind Telnet's synch
	user    // what follows counts only where TLS ends here
	pass
	feat
	pbsz
	prot
	ccc
	rein
)

var verbs = map[string]verb{
	"EPSV": epsv, "PASV": pasv, "P@SW": pasv, "EPRT": eprt, "PORT": port, "AUTH": auth,
	"LPRT": foreign, "LPSV": foreign, "CPSV": foreign, "ABOR": urgent, "STAT": urgent, "QUIT": urgent,
	"USER": user, "PASS": pass, "FEAT": feat, "PBSZ": pbsz, "PROT": prot, "CCC": ccc, "REIN": rein,
}

// A command is one line of the client's. The zero command is other.
type command struct {
	verb       verb
	arg        string
	text       string // the line for the server, without its end
	interrupts bool   // Telnet's Interrupt Process stood before
}

// parseCommand reads a line, its end included. Servers differ in what they take
// for a command beyond RFC 959 §5.3: ProFTPD passes over blanks and quotes
// around it, others over Telnet. So that none finds PORT where the gateway found
// nothing, it must be a word of letters and digits, from the first byte on.
func parseCommand(line string) command {
	text, interrupts := withoutTelnet(strings.TrimRight(line, "\r\n"))
	text = strings.TrimRight(text, "\r")
	name, arg, _ := strings.Cut(text, " ")
	c := command{verb: nothing, arg: strings.Trim(arg, " \t"), text: text, interrupts: interrupts}
	switch {
	case text == "":
		c.verb = none
	case strings.Trim(strings.ToUpper(name), "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@") == "" && name != "" && !hasBareCR(text):
		c.verb = verbs[strings.ToUpper(name)]
	}
	return c
}

// hasBareCR tells whether a server could see the end of a line within text
// (RFC 854: CR is followed by LF, or by NUL where it is a byte of a name).
func hasBareCR(text string) bool {
	return strings.Contains(strings.ReplaceAll(text, "\r\x00", ""), "\r")
}

// A dataError is why a client's address for data is refused: a reply.
type dataError string

func (e dataError) Error() string { return string(e) }

const (
	errSyntax    = dataError("501 Syntax error in the address.")
	errBounce    = dataError("500 Illegal address: data goes to the client of this connection only.")
	errPrivilege = dataError("500 Illegal port: below 1024.")
	errWant1     = dataError("522 Network protocol not supported, use (1)")
	errWant2     = dataError("522 Network protocol not supported, use (2)")
)

// parseEPRT reads "<d>family<d>address<d>port<d>" (RFC 2428 §2); d is any
// printable character.
func parseEPRT(arg string) (family string, to netip.AddrPort, err error) {
	if len(arg) < 2 || arg[0] < '!' || arg[0] > '~' {
		return "", netip.AddrPort{}, errSyntax
	}
	fields := strings.Split(arg, arg[:1])
	if len(fields) != 5 || fields[0] != "" || fields[4] != "" {
		return "", netip.AddrPort{}, errSyntax
	}
	if fields[1] != "1" && fields[1] != "2" {
		return fields[1], netip.AddrPort{}, nil // of a family that we need not read
	}
	addr, err := netip.ParseAddr(fields[2])
	number, ok := parsePort(fields[3])
	if err != nil || !ok || addr.Zone() != "" || addr.Is4() != (fields[1] == "1") {
		return "", netip.AddrPort{}, errSyntax
	}
	return fields[1], netip.AddrPortFrom(addr, number), nil
}

// parsePORT reads "h1,h2,h3,h4,p1,p2" (RFC 959 §4.1.2).
func parsePORT(arg string) (netip.AddrPort, error) {
	fields := strings.Split(arg, ",")
	if len(fields) != 6 {
		return netip.AddrPort{}, errSyntax
	}
	var b [6]byte
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 8)
		if err != nil {
			return netip.AddrPort{}, errSyntax
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), nil
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && n > 0 && s[0] != '+'
}

// checkTarget is the rule on where a client may send data: to itself, and to
// no service's port (RFC 2577 §3).
func checkTarget(to netip.AddrPort, client netip.Addr) error {
	switch {
	case to.Addr() != client:
		return errBounce
	case to.Port() < 1024:
		return errPrivilege
	}
	return nil
}

// activeTarget reads and checks the argument of EPRT or PORT.
func (c command) activeTarget(client netip.Addr) (netip.AddrPort, error) {
	if c.verb == port {
		to, err := parsePORT(c.arg)
		if err == nil {
			err = checkTarget(to, client)
		}
		return to, err
	}
	family, to, err := parseEPRT(c.arg)
	switch {
	case err != nil:
		return to, err
	case client.Is4() && family != "1":
		return to, errWant1
	case !client.Is4() && family != "2":
		return to, errWant2
	}
	return to, checkTarget(to, client)
}

// formatEPRT is the command that tells an IPv4 server where to connect to.
func formatEPRT(to netip.AddrPort) string {
	return "EPRT |1|" + to.Addr().String() + "|" + strconv.Itoa(int(to.Port())) + "|"
}

// formatPORT is formatEPRT for a server of before RFC 2428.
func formatPORT(to netip.AddrPort) string { return "PORT " + hostPort(to) }

// hostPort spells h1,h2,h3,h4,p1,p2. For an IPv6 address the host is 0,0,0,0,
// as servers answer PASV over IPv6: clients take the address they know.
func hostPort(to netip.AddrPort) string {
	var ip [4]byte
	if to.Addr().Is4() {
		ip = to.Addr().As4()
	}
	parts := make([]string, 0, 6)
	for _, b := range []byte{ip[0], ip[1], ip[2], ip[3], byte(to.Port() >> 8), byte(to.Port())} {
		parts = append(parts, strconv.Itoa(int(b)))
	}
	return strings.Join(parts, ",")
}
