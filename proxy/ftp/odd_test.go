package ftp

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// What no client of good will says, or no server that follows RFC 959, and
// what comes of it. "C|" and "S|" are bytes as they are, with no end of line.
func TestOddDialogues(t *testing.T) {
	const noCommand = `
			<C 500 Syntax error: no command.
			C> NOOP
			>S NOOP
			S< 200 ok
			<C 200 ok`
	for _, row := range []struct {
		name string
		from netip.Addr
		talk string
	}{
		// A server that reads more into a line than the gateway is led to
		// anybody's port. ProFTPD takes each of these for PORT.
		{"PORT-behind-a-tab", loop4, `C| "\tPORT 10,1,2,3,0,25\r\n"` + noCommand},
		{"PORT-before-a-tab", loop4, `C| "PORT\t10,1,2,3,0,25\r\n"` + noCommand},
		{"PORT-in-quotes", loop4, `C| "\"PORT\" 10,1,2,3,0,25\r\n"` + noCommand},
		{"PORT-behind-a-blank", loop4, `C| " PORT 10,1,2,3,0,25\r\n"` + noCommand},
		{"PORT-behind-NUL", loop4, `C| "\x00PORT 10,1,2,3,0,25\r\n"` + noCommand},
		{"PORT-behind-CR", loop4, `C| "NOOP\rPORT 10,1,2,3,0,25\r\n"` + noCommand},
		// The ftpd of BSD, inetutils and Solaris passes over Telnet.
		{"PORT-with-Telnet-in-it", loop4, `
			C| "PO\xff\xf1RT 10,1,2,3,0,25\r\n"
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"PORT-behind-an-option", loop4, `
			C| "\xff\xfb\x01PORT 10,1,2,3,0,25\r\n"
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"PORT-behind-the-synch", loop4, `
			C| "\xff\xf4\xff\xf2PORT 10,1,2,3,0,25\r\n"
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"EPRT-with-Telnet-in-its-address", loop6, `
			C| "EPRT |2|2001:db8::\xff\xf11|40000|\r\n"
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"half-a-Telnet-command-and-LF", loop4, `
			C| "SITE \xff\xfb\nNOOP\n"
			>S SITE 
			>S NOOP`},
		{"a-name-with-0xff", loop6, `
			C| "CWD \xffber\xff\xff\r\n"
			>S CWD ` + "\xffber\xff\xff" + `
			S< 250 ok
			<C 250 ok`},
		{"a-name-with-CR-NUL", loop6, `
			C| "CWD a\r\x00b\r\n"
			>S CWD a` + "\r\x00" + `b
			S< 250 ok
			<C 250 ok`},
		{"lower-case-and-LF", loop6, `
			C| "epsv\nnoop\n"
			>S epsv
			S< 229 ok (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			>S noop`},
		// vsftpd and ProFTPD say nothing to an empty line.
		{"empty-lines", loop6, `
			C| "\r\n\n\xff\xf1\r\nEPSV\r\n"
			>S EPSV
			S< 229 ok (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"PORT-other-port-of-the-client", loop4, `
			C> PORT 127,0,0,1,0,22
			<C 500 Illegal port: below 1024.`},
		{"PORT-numbers-too-large", loop4, `
			C> PORT 127,0,0,1,256,22
			<C 501 Syntax error in the address.`},
		{"PORT-two-arguments", loop4, `
			C> PORT 127,0,0,1,200,22 10,1,2,3,0,25
			<C 501 Syntax error in the address.`},
		{"PORT-of-NUL", loop4, `
			C| "PORT 10,1,2,3,0,25\x00,127,0,0,1,200,22\r\n"
			<C 501 Syntax error in the address.`},
		{"EPRT-mapped", loop6, `
			C> EPRT |2|::ffff:127.0.0.1|40000|
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"EPRT-with-a-zone", loop6, `
			C> EPRT |2|::1%lo|40000|
			<C 501 Syntax error in the address.`},
		{"EPRT-address-of-the-other-family", loop6, `
			C> EPRT |2|127.0.0.1|40000|
			<C 501 Syntax error in the address.`},
		{"EPRT-family-3", loop6, `
			C> EPRT |3|::1|40000|
			<C 522 Network protocol not supported, use (2)`},
		{"EPRT-port-65536", loop6, `
			C> EPRT |2|::1|65536|
			<C 501 Syntax error in the address.`},
		{"EPRT-port-with-a-sign", loop6, `
			C> EPRT |2|::1|+4000|
			<C 501 Syntax error in the address.`},
		{"EPRT-nothing", loop6, `
			C> EPRT
			<C 501 Syntax error in the address.`},
		{"CPSV-LPSV", loop4, `
			C> CPSV
			<C 502 Command not implemented; use EPSV or EPRT.
			C> lpsv
			<C 502 Command not implemented; use EPSV or EPRT.`},
		{"P@SW-is-PASV", loop4, `
			C> P@SW
			>S P@SW
			S< 227 Entering Passive Mode (10,77,0,2,195,84).
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"EPSV-ALL-then-EPRT", loop6, `
			C> EPSV ALL
			>S EPSV ALL
			S< 200 EPSV ALL ok.
			<C 200 EPSV ALL ok.
			C> EPRT |2|2001:db8::1|40000|
			<C 500 Illegal address: data goes to the client of this connection only.
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-ALL-to-a-server-of-1985", loop6, `
			C> EPSV ALL
			>S EPSV ALL
			S< 500 not understood
			<C 500 not understood`},
		{"EPRT-refused-by-the-server", loop4, `
			C> PORT 127,0,0,1,200,22
			>S PORT*
			S< 500 Illegal PORT command.
			<C 500 Illegal PORT command.`},
		{"227-without-brackets", loop4, `
			C> PASV
			>S PASV
			S< 227 =10,77,0,2,195,84
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"227-bare", loop4, `
			C> PASV
			>S PASV
			S< 227 10,77,0,2,195,84
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"227-with-blanks-and-another-number", loop4, `
			C> PASV
			>S PASV
			S< 227 Entering passive mode 2 of 3 (10, 77, 0, 2, 195, 84), go on
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"227-of-several-lines", loop4, `
			C> PASV
			>S PASV
			S< 227-10,77,0,2,195,84
			S< 227 is where
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"227-without-a-port", loop4, `
			C> PASV
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,395,84).
			<C 425 Cannot open a data connection.`},
		{"229-in-another-bracket", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering (extended) Passive Mode (!!!50003!)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"229-with-an-address", loop6, `
			C> EPSV
			>S EPSV
			S< 229 ok (|1|10.77.0.2|50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"229-malformed", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (||50003|)
			<C 425 Cannot open a data connection.`},
		{"229-port-zero", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||0|)
			<C 425 Cannot open a data connection.`},
		{"a-reply-in-pieces", loop6, `
			C> EPSV
			>S EPSV
			S| "2"
			S| "29 ok (|||50"
			S| "003|)\r"
			S| "\n"
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"several-lines-in-pieces-that-look-like-an-end", loop6, `
			C> STAT
			>S STAT
			S| "211-Status\r\n 211 no end\r\n2119 none\r\n212 none, t"
			S| "oo\r\n211-nor this\r\n227 (1,2,3,4,5,6)\r\n211"
			S| " End\r\n"
			<C 211-Status
			<C  211 no end
			<C 2119 none
			<C 212 none, too
			<C 211-nor this
			<C 227 (1,2,3,4,5,6)
			<C 211 End`},
		{"replies-end-with-LF", loop6, `
			C> EPSV
			>S EPSV
			S| "229 ok (|||50003|)\n"
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"STAT-amid-a-transfer", loop6, `
			C> RETR x
			>S RETR x
			S< 150 Opening
			<C 150 Opening
			C| "\xff\xf4\xff\xf2STAT\r\n"
			>S ` + synch + `STAT
			S< 213 half of it
			<C 213 half of it
			S< 226 Transfer complete.
			<C 226 Transfer complete.
			C> EPSV
			>S EPSV
			S< 229 ok (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"ABOR-answered-twice", loop6, `
			C> RETR x
			>S RETR x
			S< 150 Opening
			<C 150 Opening
			C> ABOR
			>S ABOR
			S< 426 Transfer aborted.
			<C 426 Transfer aborted.
			S< 226 Abort successful.
			<C 226 Abort successful.
			C> EPSV
			>S EPSV
			S< 229 ok (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"ABOR-answered-once", loop6, `
			C> RETR x
			>S RETR x
			S< 150 Opening
			<C 150 Opening
			C> ABOR
			>S ABOR
			S< 226 Closed.
			<C 226 Closed.
			C> EPRT |2|::1|25|
			C> EPSV
			>S EPSV
			S< 229 ok (|||50003|)
			<C 500 Illegal port: below 1024.
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"ABOR-answered-three-times", loop6, `
			C> RETR x
			C> ABOR
			C> EPSV
			>S RETR x
			>S ABOR
			>S EPSV
			S< 426 aborted
			S< 226 aborted
			S< 225 nothing to abort
			S< 229 ok (|||50003|)
			<C 426 aborted
			<C 226 aborted
			<C 225 nothing to abort
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"425-and-426", loop6, `
			C> RETR x
			>S RETR x
			S< 425 Failed to establish connection.
			<C 425 Failed to establish connection.
			C> REST 100
			>S REST 100
			S< 350 Restart position accepted (100).
			<C 350 Restart position accepted (100).
			C> APPE x
			>S APPE x
			S< 150 ok
			<C 150 ok
			S< 426 Failure reading network stream.
			<C 426 Failure reading network stream.`},
		{"pipelined-around-a-port", loop6, `
			C| "TYPE I\r\nEPSV\r\nRETR x\r\nNOOP\r\n"
			>S TYPE I
			>S EPSV
			S| "200 ok\r\n229 ok (|||50003|)\r\n"
			<C 200 ok
			<C 229 Entering Extended Passive Mode (|||40000|)
			>S RETR x
			>S NOOP
			S| "150 ok\r\n226 done\r\n200 noop\r\n"
			<C 150 ok
			<C 226 done
			<C 200 noop`},
		{"SSCN-and-the-like-are-the-servers", loop6, `
			C> SSCN ON
			>S SSCN ON
			S< 500 Unknown command.
			<C 500 Unknown command.`},
	} {
		t.Run(row.name, func(t *testing.T) {
			newStage(t, row.from).play(row.talk)
		})
	}
}

// A client that does not wait for the greeting has each reply for its own
// command all the same, and those of the gateway behind the greeting.
func TestCommandsBeforeTheGreeting(t *testing.T) {
	newSilentStage(t, loop6, Config{}).play(`
			C| "LPSV\r\nUSER x\r\nPASS x\r\nEPSV\r\nRETR x\r\n"
			>S USER x
			>S PASS x
			>S EPSV
			S< 120 wait
			S< 220 ready
			S< 331 password
			S< 230 in
			S< 229 ok (|||50003|)
			<C 120 wait
			<C 220 ready
			<C 502 Command not implemented; use EPSV or EPRT.
			<C 331 password
			<C 230 in
			<C 229 Entering Extended Passive Mode (|||40000|)
			>S RETR x`)
}

// A client has one data connection to come at a time: what it was told before
// leads nowhere, and uses up neither ports nor sockets.
func TestDataIsSuperseded(t *testing.T) {
	st := newStage(t, loop6)
	ask := func() uint16 {
		t.Helper()
		st.client.say("EPSV")
		st.server.hear("EPSV")
		st.server.say("229 ok (|||50003|)")
		return portOf(t, st.client.line())
	}
	for range 3 * 10 { // the hub has ten ports
		ask()
	}
	last := ask()
	eventually(t, "the last port alone is waited for", func() bool {
		st.hub.mu.Lock()
		defer st.hub.mu.Unlock()
		return len(st.hub.waiting) == 1 && st.hub.waiting[meeting{loop6, last}] != nil
	})
}

// So it is in active mode, where the server may come a little late. More than
// maxData at a time are refused.
func TestActiveDataIsSuperseded(t *testing.T) {
	st := newStage(t, loop6)
	var offers []netip.AddrPort
	for range 3 * maxData {
		st.client.say("EPRT |2|::1|40000|")
		st.client.say("NOOP")
		line := st.server.line()
		if line == "NOOP" {
			st.client.hear("425 Cannot open a data connection.")
		} else {
			_, to, err := parseEPRT(strings.TrimPrefix(line, "EPRT "))
			if err != nil {
				t.Fatal(err)
			}
			offers = append(offers, to)
			st.server.say("200 ok")
			st.client.hear("200 ok")
			st.server.hear("NOOP")
		}
		st.server.say("200 noop")
		st.client.hear("200 noop")
	}
	if len(offers) < maxData {
		t.Errorf("%d offers, want %d at least", len(offers), maxData)
	}
	for _, to := range offers[:len(offers)-1] {
		eventually(t, "an offer ends", func() bool {
			conn, err := net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(to))
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
	}
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}

// Commands in the clear behind AUTH TLS would be taken for said over TLS by a
// server that reads on (CVE-2011-0411).
func TestInjectionBehindAuth(t *testing.T) {
	st := newStage(t, loop6)
	if _, err := io.WriteString(st.client.conn, "AUTH TLS\r\nDELE all\r\n"); err != nil {
		t.Fatal(err)
	}
	st.server.hear("AUTH TLS")
	st.server.say("234 Proceed with negotiation.")
	if line, err := st.server.r.ReadString('\n'); err == nil {
		t.Errorf("the server heard %q", line)
	}
	if err := <-st.ended; err != errInjected {
		t.Errorf("ended by %v", err)
	}
	st.ended <- nil
}

// The server is interrupted by urgent data, as the client wanted it.
func TestUrgentData(t *testing.T) {
	st := newStage(t, loop6)
	st.client.say("\xff\xf4\xff\xf2ABOR")
	line := make([]byte, 3)
	// Linux ends a read before the urgent byte.
	if n, err := st.server.conn.Read(line); err != nil || string(line[:n]) != synch[:2] {
		t.Errorf("read %q, %v; want it to end before the urgent byte of %q", line[:n], err, synch)
	}
	st.server.hear("\xff\xf2ABOR")
}

func FuzzCommand(f *testing.F) {
	f.Add("PO\xff\xf1RT 10,1,2,3,0,25\r\n")
	f.Add("\xff\xfb\x01\"PORT\"\t10,1,2,3,0,25\n")
	f.Add("\xff\xf4\xff\xf2ABOR\r\n")
	f.Fuzz(func(t *testing.T, line string) {
		if n := strings.IndexByte(line, '\n'); n >= 0 && n < len(line)-1 {
			return // readLine gives one
		}
		c := parseCommand(line)
		if c.verb == none || c.verb == nothing {
			return
		}
		// How the ftpd of BSD and ProFTPD find a command.
		for name, read := range map[string]func(string) string{"BSD": readAsBSD, "ProFTPD": readAsProFTPD} {
			word := strings.ToUpper(read(c.text + "\r\n"))
			if verbs[word] != c.verb {
				t.Fatalf("%s finds %q in %q, which was taken for %v", name, word, c.text, c.verb)
			}
		}
	})
}

// readAsBSD passes over Telnet, and takes all up to a blank.
func readAsBSD(line string) string {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] == 0xff && i+1 < len(line) {
			if i++; line[i] >= 0xfb && line[i] <= 0xfe {
				i++
			}
			if line[i-1] != 0xff || line[i] != 0xff {
				continue
			}
		}
		b.WriteByte(line[i])
	}
	word, _, _ := strings.Cut(strings.TrimRight(b.String(), "\r\n"), " ")
	return word
}

// readAsProFTPD passes over white space and takes a word, in quotes or not.
func readAsProFTPD(line string) string {
	line = strings.TrimLeft(line, " \t\r\n\v\f")
	if quoted, ok := strings.CutPrefix(line, `"`); ok {
		word, _, _ := strings.Cut(quoted, `"`)
		return word
	}
	if end := strings.IndexAny(line, " \t\r\n\v\f"); end >= 0 {
		line = line[:end]
	}
	return line
}
