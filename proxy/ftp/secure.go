package ftp

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Requirements are what a client must do where TLS ends here. The zero
// Requirements leave all to the client.
type Requirements struct {
	// Login takes no user and no password before TLS.
	Login bool
	// Data opens data connections with TLS only (PROT P).
	Data bool
	// Reuse takes data connections only that resume the TLS session of their
	// control connection: nobody else can, whatever his address.
	Reuse bool
}

// SessionTLS makes the TLS of one control connection and its data: tickets of
// one session are worth nothing in another.
func SessionTLS(shared *tls.Config) *tls.Config {
	own := shared.Clone()
	var key [32]byte
	rand.Read(key[:])
	own.SetSessionTicketKeys([][32]byte{key})
	return own
}

// handshakeWithin bounds the handshake of a control connection.
const handshakeWithin = 10 * time.Second

// errInjected ends a session in which plain bytes stand behind AUTH: they were
// not said by who speaks over TLS then (CVE-2011-0411).
var errInjected = errors.New("bytes in the clear behind AUTH TLS: an injection")

// translateSecure answers what RFC 4217 adds to FTP. The server behind, which
// speaks plain, hears none of it. ok is false for all else.
func (s *session) translateSecure(c command) (answer string, ok bool) {
	arg := strings.ToUpper(c.arg)
	switch c.verb {
	case auth:
		switch {
		case s.secure:
			return "503 TLS is on already.\r\n", true
		case s.named:
			return "503 AUTH comes before USER.\r\n", true
		case arg != "TLS" && arg != "TLS-C" && arg != "TLS-P" && arg != "SSL":
			return "504 Unknown mechanism; use AUTH TLS.\r\n", true
		}
		return "", false // secureControl answers
	case user, pass:
		if s.Require.Login && !s.secure {
			return "530 TLS is required; say AUTH TLS first.\r\n", true
		}
		s.named = true
	case pbsz: // §9: of TLS, always 0
		if !s.secure {
			return "503 AUTH comes first.\r\n", true
		}
		s.buffered = true
		return "200 PBSZ=0\r\n", true
	case prot:
		return s.protect(arg), true
	case ccc, rein:
		if s.secure {
			return "534 The control connection stays encrypted.\r\n", true
		}
		s.named = s.named && c.verb != rein
	case epsv, pasv, eprt, port:
		if s.Require.Data && !s.private() && !strings.EqualFold(c.arg, "ALL") {
			return "521 Data must be encrypted; say PROT P first.\r\n", true
		}
	}
	return "", false
}

// protect answers PROT (§9): P for private data, C for clear.
func (s *session) protect(level string) string {
	switch {
	case !s.secure:
		return "503 AUTH comes first.\r\n"
	case !s.buffered:
		return "503 PBSZ comes before PROT.\r\n"
	case level == "C" && s.Require.Data:
		return "534 Data must be encrypted; say PROT P.\r\n"
	case level == "S" || level == "E":
		return "536 TLS gives PROT P and PROT C only.\r\n"
	case level != "P" && level != "C":
		return "504 Unknown level; use PROT P or PROT C.\r\n"
	}
	s.setPrivate(level == "P")
	return "200 PROT " + level + "\r\n"
}

func (s *session) private() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isPrivate
}

func (s *session) setPrivate(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isPrivate = on
}

// secureControl makes the control connection a TLS one, once all commands
// before are answered.
func (s *session) secureControl(mechanism string) error {
	if err := s.queue.drain(s.ctx); err != nil {
		return err
	}
	if s.fromClient.Buffered() > 0 {
		return errInjected
	}
	conn, err := s.switchToTLS(strings.EqualFold(mechanism, "TLS-P"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, handshakeWithin)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	s.fromClient = bufio.NewReaderSize(conn, maxLine)
	s.secure = true
	return nil
}

// switchToTLS answers AUTH. What the server says after that, unasked, goes over
// TLS.
func (s *session) switchToTLS(isPrivate bool) (*tls.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(true, "234 Proceed with negotiation.\r\n"); err != nil {
		return nil, err
	}
	conn := tls.Server(s.client, s.TLS)
	s.client, s.isPrivate = conn, isPrivate
	return conn, nil
}

// A tlsData is a client's data connection with TLS. Its direction ends by
// close_notify and FIN: some clients wait for the one, some for the other.
type tlsData struct {
	*tls.Conn
	tcp *net.TCPConn
}

// CloseWrite ends the direction to the client.
func (d tlsData) CloseWrite() error { return errors.Join(d.Conn.CloseWrite(), d.tcp.CloseWrite()) }

var errNoReuse = errors.New("a TLS session of its own, and not that of the control connection")

// secureData makes a data connection of the client's a TLS one, where it said
// PROT P. The server is connected already: clients may wait for its 150 first.
func (s *session) secureData(client *net.TCPConn) (net.Conn, error) {
	if !s.private() {
		return client, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.DataWait)
	defer cancel()
	conn := tls.Server(client, s.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS of data: %w", err)
	}
	if s.Require.Reuse && !conn.ConnectionState().DidResume {
		return nil, fmt.Errorf("TLS of data: %w", errNoReuse)
	}
	return tlsData{conn, client}, nil
}

// tlsFeatures are ours in the place of the server's own.
const tlsFeatures = " AUTH TLS\r\n PBSZ\r\n PROT\r\n"

// features edits the answer to FEAT (RFC 2389 §3): what is said of TLS is
// about us.
func features(r reply) string {
	if r.code != 211 {
		return "211-Features:\r\n" + tlsFeatures + "211 End\r\n"
	}
	var b strings.Builder
	lines := strings.SplitAfter(strings.TrimSuffix(r.raw, "\n"), "\n")
	if len(lines) == 1 { // "211 no features"
		return "211-Features:\r\n" + tlsFeatures + r.raw
	}
	for i, line := range lines {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch strings.ToUpper(word) {
		case "AUTH", "PBSZ", "PROT", "CCC":
			continue
		}
		if i == len(lines)-1 {
			b.WriteString(tlsFeatures + line + "\n")
			break
		}
		b.WriteString(line)
	}
	return b.String()
}
