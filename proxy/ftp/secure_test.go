package ftp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// sharedTLS is a server's configuration with a certificate of nobody's.
func sharedTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"ftp.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// clientTLS is what a client connects with; it resumes sessions that it has.
func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "ftp.test", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
}

// startTLS has the client's side of a stage speak TLS from here on.
func (s *side) startTLS(config *tls.Config) {
	s.t.Helper()
	conn := tls.Client(s.conn, config)
	if err := conn.Handshake(); err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
	s.over, s.r = conn, bufio.NewReader(conn)
}

// What of RFC 4217 is said before and behind AUTH TLS. "TLS" is the handshake.
func TestSecureDialogues(t *testing.T) {
	all := Requirements{Login: true, Data: true}
	for _, row := range []struct {
		name    string
		require Requirements
		talk    string
	}{
		{"AUTH-is-ours", Requirements{}, `
			C> AUTH TLS
			<C 234 Proceed with negotiation.
			TLS
			C> PBSZ 0
			<C 200 PBSZ=0
			C> PROT P
			<C 200 PROT P
			C> USER joe
			>S USER joe
			S< 331 Please specify the password.
			<C 331 Please specify the password.`},
		{"FEAT-is-ours", Requirements{}, `
			C> FEAT
			>S FEAT
			S< 211-Features:
			S<  AUTH SSL
			S<  AUTH TLS
			S<  EPSV
			S<  PBSZ
			S<  PROT
			S< 211 End
			<C 211-Features:
			<C  EPSV
			<C  AUTH TLS
			<C  PBSZ
			<C  PROT
			<C 211 End`},
		{"FEAT-of-a-server-of-1985", Requirements{}, `
			C> FEAT
			>S FEAT
			S< 500 'FEAT': command not understood.
			<C 211-Features:
			<C  AUTH TLS
			<C  PBSZ
			<C  PROT
			<C 211 End`},
		{"AUTH-waits-for-its-turn", Requirements{}, `
			C> NOOP
			>S NOOP
			C> AUTH TLS
			S< 200 NOOP
			<C 200 NOOP
			<C 234 Proceed with negotiation.
			TLS
			C> NOOP
			>S NOOP
			S< 200 NOOP
			<C 200 NOOP`},
		{"AUTH-by-other-names", Requirements{}, `
			C> AUTH KERBEROS_V4
			<C 504 Unknown mechanism; use AUTH TLS.
			C> auth ssl
			<C 234 Proceed with negotiation.
			TLS
			C> AUTH TLS
			<C 503 TLS is on already.`},
		{"AUTH-behind-USER", Requirements{}, `
			C> USER joe
			>S USER joe
			S< 331 Password
			<C 331 Password
			C> AUTH TLS
			<C 503 AUTH comes before USER.`},
		{"order", Requirements{}, `
			C> PROT P
			<C 503 AUTH comes first.
			C> PBSZ 0
			<C 503 AUTH comes first.
			C> AUTH TLS
			<C 234 Proceed with negotiation.
			TLS
			C> PROT P
			<C 503 PBSZ comes before PROT.
			C> PBSZ 0
			<C 200 PBSZ=0
			C> PROT S
			<C 536 TLS gives PROT P and PROT C only.
			C> PROT X
			<C 504 Unknown level; use PROT P or PROT C.
			C> PROT C
			<C 200 PROT C
			C> CCC
			<C 534 The control connection stays encrypted.
			C> REIN
			<C 534 The control connection stays encrypted.`},
		{"required", all, `
			C> USER joe
			<C 530 TLS is required; say AUTH TLS first.
			C> PASS secret
			<C 530 TLS is required; say AUTH TLS first.
			C> AUTH TLS
			<C 234 Proceed with negotiation.
			TLS
			C> USER joe
			>S USER joe
			S< 331 Password
			<C 331 Password
			C> EPSV
			<C 521 Data must be encrypted; say PROT P first.
			C> PBSZ 0
			<C 200 PBSZ=0
			C> PROT C
			<C 534 Data must be encrypted; say PROT P.
			C> PROT P
			<C 200 PROT P
			C> EPSV
			>S EPSV
			S< 229 Entering Extended Passive Mode (|||40007|)
			<C 229 Entering Extended Passive Mode (|||40007|)`},
	} {
		t.Run(row.name, func(t *testing.T) {
			st := newStageOf(t, loop6, Config{TLS: SessionTLS(sharedTLS(t)), Require: row.require})
			st.play(row.talk)
		})
	}
}

// Plain bytes behind AUTH TLS are not said over TLS: the session ends.
func TestSecureInjection(t *testing.T) {
	st := newStageOf(t, loop6, Config{TLS: SessionTLS(sharedTLS(t))})
	if _, err := io.WriteString(st.client.conn, "AUTH TLS\r\nDELE all\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := st.client.r.ReadString('\n'); err == nil {
		t.Errorf("answer %q", line)
	}
	if line, err := st.server.r.ReadString('\n'); err == nil {
		t.Errorf("the server heard %q", line)
	}
}

// Data has TLS where the client said PROT P; with Reuse it must resume the
// session of its own control connection.
func TestSecureData(t *testing.T) {
	for _, row := range []struct {
		name     string
		prot     string
		reuse    bool // required
		resumes  bool // the client does
		foreign  bool // it resumes a session of another control connection
		version  uint16
		received bool
	}{
		{"clear", "C", false, false, false, 0, true},
		{"private", "P", false, false, false, 0, true},
		{"private-resumed", "P", true, true, false, tls.VersionTLS13, true},
		{"private-resumed-1.2", "P", true, true, false, tls.VersionTLS12, true},
		{"private-not-resumed", "P", true, false, false, 0, false},
		{"private-not-resumed-1.2", "P", true, false, false, tls.VersionTLS12, false},
		{"private-of-another", "P", true, true, true, tls.VersionTLS13, false},
		{"private-of-another-1.2", "P", true, true, true, tls.VersionTLS12, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			shared := sharedTLS(t)
			control, data := clientTLS(), clientTLS()
			control.MaxVersion, data.MaxVersion = row.version, row.version
			if row.foreign {
				other := newStageOf(t, loop6, Config{TLS: SessionTLS(shared)})
				other.login(data, "P")
			}
			st := newStageOf(t, loop6, Config{TLS: SessionTLS(shared), Require: Requirements{Reuse: row.reuse}})
			st.login(control, row.prot)
			if row.resumes && !row.foreign {
				data = control
			}
			server, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loop4.AsSlice()})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			st.client.say("EPSV")
			st.server.hear("EPSV")
			st.server.say(fmt.Sprintf("229 Entering (|||%d|)", server.Addr().(*net.TCPAddr).Port))
			near, far := pair(t, loop6)
			if !st.hub.Arrive(far, loop6, portOf(t, st.client.line())) {
				t.Fatal("the client's own connection was not taken")
			}
			from, err := server.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(from, "the file")
			from.Close()
			near.SetDeadline(time.Now().Add(patience))
			conn := io.Reader(near)
			if row.prot == "P" {
				conn = tls.Client(near, data)
			}
			got, err := io.ReadAll(conn)
			if received := err == nil && string(got) == "the file"; received != row.received {
				t.Errorf("data %q, %v, want it: %v", got, err, row.received)
			}
			if row.received {
				<-st.relayed
			} else if st.stop(); !strings.Contains(st.log.String(), errNoReuse.Error()) {
				t.Errorf("log: %s", &st.log)
			}
		})
	}
}

// login comes to TLS and to a level of protection.
func (st *stage) login(config *tls.Config, level string) {
	st.t.Helper()
	st.client.say("AUTH TLS")
	st.client.hear("234 Proceed with negotiation.")
	st.client.startTLS(config)
	st.client.say("PBSZ 0")
	st.client.hear("200 PBSZ=0")
	st.client.say("PROT " + level)
	st.client.hear("200 PROT " + level)
}
