package ftp

import (
	"net/netip"
	"testing"
)

// The dialogues that real clients and servers hold, as they were recorded.
// "C>" is the client's line, "S<" the server's; ">S" is what the server hears,
// "<C" what the client hears.
func TestDialogues(t *testing.T) {
	for _, row := range []struct {
		name string
		from netip.Addr
		talk string
	}{
		{"unchanged", loop6, `
			C> user anonymous
			>S user anonymous
			S< 331 Please specify the password.
			<C 331 Please specify the password.`},
		{"EPSV", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50003|)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-of-the-range", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||40007|)
			<C 229 Entering Extended Passive Mode (|||40007|)`},
		{"EPSV-2-of-wget", loop6, `
			C> EPSV 2
			>S EPSV 1
			S< 229 Entering Extended Passive Mode (|||50007|).
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-2-of-IPv4", loop4, `
			C> EPSV 2
			>S EPSV 2
			S< 522 Bad network protocol.
			<C 522 Bad network protocol.`},
		{"EPSV-before-login", loop6, `
			C> EPSV
			>S EPSV
			S< 530 Please login with USER and PASS.
			<C 530 Please login with USER and PASS.`},
		{"EPSV-to-a-server-of-1985", loop6, `
			C> EPSV
			>S EPSV
			S< 500 'EPSV': command not understood.
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,195,84)
			<C 229 Entering Extended Passive Mode (|||40000|)`},
		{"EPSV-ALL", loop6, `
			C> EPSV ALL
			>S EPSV ALL
			S< 200 EPSV ALL ok.
			<C 200 EPSV ALL ok.`},
		{"PASV-of-IPv4", loop4, `
			C> PASV
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,195,89).
			<C 227 Entering Passive Mode (127,0,0,1,156,64).`},
		{"PASV-of-IPv6", loop6, `
			C> PASV
			>S PASV
			S< 227 Entering Passive Mode (10,77,0,2,195,89).
			<C 227 Entering Passive Mode (0,0,0,0,156,64).`},
		{"multi-line", loop6, `
			C> FEAT
			>S FEAT
			S< 211-Features:
			S<  EPSV
			S< 211 End
			<C 211-Features:
			<C  EPSV
			<C 211 End`},
		{"preliminary", loop6, `
			C> RETR x
			>S RETR x
			S< 150 Opening
			<C 150 Opening
			S< 226 Transfer complete.
			<C 226 Transfer complete.`},
		{"curl-get", loop6, `
			C> USER anonymous
			>S USER anonymous
			S< 331 Please specify the password.
			<C 331 Please specify the password.
			C> PASS ftp@example.com
			>S PASS ftp@example.com
			S< 230 Login successful.
			<C 230 Login successful.
			C> PWD
			>S PWD
			S< 257 "/" is the current directory
			<C 257 "/" is the current directory
			C> CWD pub
			>S CWD pub
			S< 250 Directory successfully changed.
			<C 250 Directory successfully changed.
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50008|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			C> TYPE I
			>S TYPE I
			S< 200 Switching to Binary mode.
			<C 200 Switching to Binary mode.
			C> SIZE file
			>S SIZE file
			S< 213 10
			<C 213 10
			C> RETR file
			>S RETR file
			S< 150 Opening BINARY mode data connection for file (10 bytes).
			<C 150 Opening BINARY mode data connection for file (10 bytes).
			S< 226 Transfer complete.
			<C 226 Transfer complete.
			C> QUIT
			>S QUIT
			S< 221 Goodbye.
			<C 221 Goodbye.`},
		{"curl-put", loop6, `
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50008|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			C> TYPE I
			>S TYPE I
			S< 200 Switching to Binary mode.
			<C 200 Switching to Binary mode.
			C> STOR x
			>S STOR x
			S< 150 Ok to send data.
			<C 150 Ok to send data.
			S< 226 Transfer complete.
			<C 226 Transfer complete.`},
		{"lftp-lists-and-gets", loop6, `
			C> FEAT
			>S FEAT
			S< 211-Features:
			S<  EPRT
			S<  EPSV
			S< 211 End
			<C 211-Features:
			<C  EPRT
			<C  EPSV
			<C 211 End
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50001|)
			<C 229 Entering Extended Passive Mode (|||40000|)
			C> LIST
			>S LIST
			S< 150 Here comes the directory listing.
			<C 150 Here comes the directory listing.
			S< 226 Directory send OK.
			<C 226 Directory send OK.
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||50002|)
			<C 229 Entering Extended Passive Mode (|||40001|)
			C> RETR file
			>S RETR file
			S< 150 Opening
			<C 150 Opening
			S< 226 Transfer complete.
			<C 226 Transfer complete.`},
		{"vsftpd-refuses-3", loop6, `
			C> EPSV 3
			>S EPSV 3
			S< 522 Bad network protocol.
			<C 522 Bad network protocol.`},
		{"vsftpd-after-EPSV-ALL", loop4, `
			C> EPSV ALL
			>S EPSV ALL
			S< 200 EPSV ALL ok.
			<C 200 EPSV ALL ok.
			C> PASV
			>S PASV
			S< 550 Permission denied.
			<C 550 Permission denied.`},
		{"pipelined-refusals-in-turn", loop6, `
			C> TYPE I
			C> EPRT |2|2001:db8::1|40000|
			C> NOOP
			>S TYPE I
			>S NOOP
			S< 200 I
			<C 200 I
			<C 500 Illegal address: data goes to the client of this connection only.
			S< 200 NOOP
			<C 200 NOOP`},
		{"EPRT-privileged", loop6, `
			C> EPRT |2|::1|25|
			<C 500 Illegal port: below 1024.`},
		{"EPRT-1-of-IPv6", loop6, `
			C> EPRT |1|127.0.0.1|40000|
			<C 522 Network protocol not supported, use (2)`},
		{"EPRT-2-of-IPv4", loop4, `
			C> EPRT |2|::1|40000|
			<C 522 Network protocol not supported, use (1)`},
		{"EPRT-nonsense", loop6, `
			C> EPRT 2 ::1 4000
			<C 501 Syntax error in the address.`},
		{"PORT-of-IPv6", loop6, `
			C> PORT 127,0,0,1,156,64
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"PORT-bounce", loop4, `
			C> PORT 10,1,2,3,0,25
			<C 500 Illegal address: data goes to the client of this connection only.`},
		{"LPRT", loop6, `
			C> LPRT 4,4,10,1,2,3,2,0,25
			<C 502 Command not implemented; use EPSV or EPRT.`},
		{"ABOR-with-telnet", loop6, "\n\t\t\tC> \xff\xf4\xff\xf2ABOR\n\t\t\t>S \xff\xf4\xff\xf2ABOR\n\t\t\tS< 225 No transfer to ABOR.\n\t\t\t<C 225 No transfer to ABOR."},
		{"timeout-unasked", loop6, `
			S< 421 Timeout.
			<C 421 Timeout.`},
	} {
		t.Run(row.name, func(t *testing.T) {
			newStage(t, row.from).play(row.talk)
		})
	}
}
