package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"genkan/acl"
	"genkan/proxy/ftp"
)

// startLines is a server without TLS that greets, echoes each read, and ends
// with "bye" behind the client's end.
func startLines(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(patience))
				fmt.Fprint(c, "hello\n")
				io.Copy(c, c)
				fmt.Fprint(c, "bye\n")
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

func TestForwardEndsTLS(t *testing.T) {
	cert, key := writeCert(t, time.Hour, "mail.test")
	s := start(t, Config{Forwards: []Forward{{
		Name: "imaps", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startLines(t)), Access: acl.AllowAll(), Cert: cert, Key: key,
	}}})
	conn, err := tls.Dial("tcp", s.at(t, "::1"), &tls.Config{InsecureSkipVerify: true, ServerName: "mail.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if name := conn.ConnectionState().PeerCertificates[0].DNSNames[0]; name != "mail.test" {
		t.Errorf("certificate of %q", name)
	}
	big := strings.Repeat("Take off your shoes. ", 50000)
	go func() {
		io.WriteString(conn, big)
		conn.CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello\n"+big+"bye\n" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	s.log.waitFor(t, "msg=connection", "forward=imaps", "client=::1", fmt.Sprintf("up=%d", len(big)), "end=eof")

	plain, err := net.Dial("tcp", s.at(t, "::1"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.SetDeadline(time.Now().Add(patience))
	io.WriteString(plain, "a LOGIN joe secret\r\n")
	if got, err := io.ReadAll(plain); errors.Is(err, io.EOF) || strings.Contains(string(got), "hello") {
		t.Errorf("without TLS: %q, %v", got, err)
	}
	s.log.waitFor(t, `msg="connection refused"`, "forward=imaps", `cause="tls: first record does not look like a TLS handshake"`)
	poll(t, "leases were not released", func() bool { return s.Stats().Backends[0].Open == 0 })
}

func TestForwardTLSFaults(t *testing.T) {
	cert, key := writeCert(t, time.Hour, "a.test")
	for _, row := range []struct {
		name    string
		forward Forward
		want    string
	}{
		{"one-of-two", Forward{Listen: mustListen(t, "[::1]:0"), Cert: cert}, `forward "x": cert and key belong together; write both`},
		{"starttls-ssh", Forward{Listen: mustListen(t, "[::1]:0"), Cert: cert, Key: key, Protocol: "ssh", TLS: TLSStart}, `forward "x": tls "starttls" is for mail and FTP; write protocol = "smtp", "imap", "pop3" or "ftp" too`},
		{"starttls-bare", Forward{Listen: mustListen(t, "[::1]:0"), Protocol: "imap", TLS: TLSStart}, `forward "x": tls "starttls" needs a certificate; write cert and key`},
		{"udp", Forward{Listen: mustListen(t, "udp/[::1]:0"), Cert: cert, Key: key}, `forward "x": cert: TLS is over TCP, and this forward listens on UDP; make them two forwards`},
		{"dns", Forward{Listen: mustListen(t, "[::1]:0"), Cert: cert, Key: key, Protocol: "dns"}, `forward "x": cert: TLS of protocol "dns" is not ended here; take cert and key away`},
		{"require-without-tls", Forward{Listen: mustListen(t, "[::1]:0"), Protocol: "ftp", FTPRequire: ftp.Requirements{Login: true}}, `forward "x": ftp_require is about TLS that ends here; write cert and key too`},
		{"require-of-imap", Forward{Listen: mustListen(t, "[::1]:0"), Cert: cert, Key: key, Protocol: "imap", FTPRequire: ftp.Requirements{Login: true}}, `forward "x": ftp_require is for FTP; write protocol = "ftp" too`},
		{"xclient", Forward{Listen: mustListen(t, "[::1]:0"), Announce: []string{"xclient"}}, `forward "x": announce "xclient" is for mail servers; write protocol = "smtp" too, and TCP listeners only`},
		{"xclient-pool", Forward{Listen: mustListen(t, "[::1]:0"), Announce: []string{"xclient"}, Protocol: "smtp", AnnounceAddress: "pool"}, `forward "x": announce "xclient" tells the client's own address; take announce_address away
forward "x": there is no pool "default"; write [pool.default] with prefix = "100.64.0.0/16"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := row.forward
			f.Name, f.To, f.Access = "x", mustBackend(t, "127.0.0.1:1"), acl.AllowAll()
			if _, err := New(Config{Forwards: []Forward{f}}); err == nil || err.Error() != row.want {
				t.Errorf("%v, want %s", err, row.want)
			}
		})
	}
}

// What a client, or who sits on its wire, says behind STARTTLS in the clear
// never reaches the server as if it were said over TLS.
func TestForwardStartTLS(t *testing.T) {
	cert, key := writeCert(t, time.Hour, "mail.test")
	s := start(t, Config{Forwards: []Forward{{
		Name: "pop3", Listen: mustListen(t, "[::1]:0"), To: mustBackend(t, startLines(t)), Access: acl.AllowAll(),
		Protocol: "pop3", TLS: TLSStart, Cert: cert, Key: key,
	}}})
	begin := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.at(t, "::1"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(patience))
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); line != "hello\n" {
			t.Fatalf("greeting %q, %v", line, err)
		}
		return conn, r
	}
	ask := func(conn net.Conn, r *bufio.Reader, line, want string) {
		t.Helper()
		io.WriteString(conn, line)
		if got, err := r.ReadString('\n'); got != want {
			t.Errorf("%q: %q, %v, want %q", line, got, err, want)
		}
	}
	conn, r := begin()
	ask(conn, r, "USER joe\r\n", "-ERR TLS is required; say STLS first\r\n")
	ask(conn, r, "NOOP\r\n", "NOOP\r\n")
	ask(conn, r, "STLS\r\n", "+OK Begin TLS negotiation\r\n")
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	ask(secure, bufio.NewReader(secure), "USER joe\r\n", "USER joe\r\n")
	secure.CloseWrite()

	conn, r = begin()
	ask(conn, r, "STLS\r\nDELE 1\r\n", "")
	s.log.waitFor(t, "msg=connection", "forward=pop3", `cause="bytes in the clear behind STARTTLS: an injection"`)
	poll(t, "leases were not released", func() bool { return s.Stats().Backends[0].Open == 0 })
}
