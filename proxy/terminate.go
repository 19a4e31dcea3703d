package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"genkan/proxy/certs"
	"genkan/proxy/dns"
	"genkan/proxy/ftp"
	"genkan/proxy/pipe"
	"genkan/proxy/starttls"
	"genkan/proxy/xclient"
)

// terminate finds the certificate of a forward that is to have one: TLS ends
// here, and the server behind speaks plain.
func (st *state) terminate(f *forward, s *Server) error {
	hasCert := f.Cert != "" || f.CertSource != CertNone
	switch {
	case f.TLS > TLSStart:
		return fmt.Errorf("tls %d is none of ours", f.TLS)
	case f.TLS == TLSStart && f.Protocol != "ftp" && !starttls.Supports(f.Protocol):
		return errors.New("tls \"starttls\" is for mail and FTP; write protocol = \"smtp\", \"imap\", \"pop3\" or \"ftp\" too")
	case f.TLS == TLSStart && !hasCert:
		return errors.New("tls \"starttls\" needs a certificate; write cert and key")
	case !hasCert && f.Key == "" && f.FTPRequire != (ftp.Requirements{}):
		return errors.New("ftp_require is about TLS that ends here; write cert and key too")
	case f.FTPRequire != (ftp.Requirements{}) && f.Protocol != "ftp":
		return errors.New("ftp_require is for FTP; write protocol = \"ftp\" too")
	case !hasCert && f.Key == "":
		return nil
	case f.Protocol == "dns":
		return errors.New("cert: TLS of protocol \"dns\" is not ended here; take cert and key away")
	case slices.ContainsFunc(f.Listen, func(l Listen) bool { return l.Network == "udp" }):
		return errors.New("cert: TLS is over TCP, and this forward listens on UDP; make them two forwards")
	}
	names := f.CertNames
	if len(names) == 0 {
		names = f.SNI
	}
	if f.CertSource != CertNone && len(names) == 0 {
		return errors.New("no name to get a certificate for; write hosts = [\"mail.example.jp\"], or cert and key")
	}
	cert, err := st.certificate(f.Cert, f.Key, f.CertSource, s)
	if err != nil {
		return err
	}
	f.cert = cert
	f.tls = certs.Config(forwardFinder{f, names[:min(1, len(names))], s.certs})
	return st.want(f.CertSource, f.TLSProfile, names)
}

// A forwardFinder is what clients of a forward are shown.
type forwardFinder struct {
	*forward
	first []string // the name for clients that ask for none
	certs *certs.Manager
}

// Certificate finds the certificate for the name that a client asks for; for
// none, and for one that is not the forward's, the first: mail clients ask for
// all kinds of names, lftp for addresses, and check what they get.
func (f forwardFinder) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name, err := serverName(hello.ServerName)
	if err != nil {
		name = ""
	}
	if len(f.first) > 0 && !f.covers(name) {
		name = f.first[0]
	}
	return f.cert.get(hello, name)
}

// covers tells whether the forward's certificates are for the name.
func (f forwardFinder) covers(name string) bool {
	names := f.CertNames
	if len(names) == 0 {
		names = f.SNI
	}
	return slices.ContainsFunc(names, func(pattern string) bool {
		canonical, err := canonicalPattern(pattern)
		if suffix, wild := strings.CutPrefix(canonical, "*"); wild && err == nil {
			return strings.HasSuffix(name, suffix)
		}
		return err == nil && canonical == name
	})
}

// Profile gives the parameters of the forward.
func (f forwardFinder) Profile(*tls.ClientHelloInfo) certs.Profile { return f.TLSProfile }

// Challenge answers a CA.
func (f forwardFinder) Challenge(name string) (*tls.Certificate, bool) {
	return f.certs.Challenge(name)
}

// speaks tells that something is said to the client or to the server before
// their bytes are exchanged.
func (f *forward) speaks() bool {
	return f.tls != nil || f.ECS || slices.Contains(f.Announce, "xclient")
}

// speak makes the client's connection a TLS one, and says XCLIENT to the
// server, where the forward wants it, and gives both to the engine.
func (fl *flow) speak() {
	client, err := net.Conn(fl.conn), error(nil)
	switch {
	case fl.forward.ECS:
		client = dns.NewSubnetConn(fl.conn, fl.client.Addr())
	case fl.forward.tls != nil && !fl.forward.startsPlain(fl.door.endpoint.addr.Port()):
		client, err = fl.handshake(fl.forward.tls)
	}
	if err != nil {
		fl.refuseTLS(err)
		return
	}
	ctx, cancel := context.WithCancel(fl.server.serving)
	defer cancel()
	fl.stream.cutWith(cancel)
	server, l, err := fl.group.connect(ctx, fl.addr(), fl.dial)
	if err != nil {
		fl.fail(nil, err)
		return
	}
	fl.has(l)
	var greeting []byte
	if slices.Contains(fl.forward.Announce, "xclient") {
		if greeting, err = xclient.Announce(ctx, server, fl.client); err != nil {
			fl.fail(server, err)
			return
		}
	}
	head := fl.head
	if client == fl.conn && fl.forward.tls != nil {
		client, head, err = fl.negotiate(ctx, server, greeting)
	} else if len(greeting) > 0 {
		_, err = client.Write(greeting)
	}
	if err != nil {
		fl.hangUp(server, err)
		return
	}
	s := fl.server.pipe.Relay(client, server, pipe.Options{Head: head, Idle: fl.forward.Idle, Lifetime: fl.forward.Lifetime, Done: fl.done})
	fl.stream.cutWith(s.Cut)
	fl.stream.movedBy(s)
}

// ftpsPort is where FTP speaks TLS from the first byte.
const ftpsPort = 990

// startsPlain tells that clients of a port come to TLS by a command.
func (f *forward) startsPlain(port uint16) bool {
	return f.TLS == TLSStart || f.TLS == TLSByPort && f.Protocol == "ftp" && port != ftpsPort
}

// handshake makes the client's connection a TLS one.
func (fl *flow) handshake(config *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(fl.server.serving, fl.state.timeouts.Handshake)
	defer cancel()
	fl.stream.cutWith(cancel)
	conn := tls.Server(fl.conn, config)
	err := conn.HandshakeContext(ctx)
	if err == nil && certs.IsChallenge(conn.ConnectionState()) {
		err = errChallenge
	}
	return conn, err
}

// refuseTLS ends a flow whose client has not come to TLS.
func (fl *flow) refuseTLS(err error) {
	fl.server.log.Info("connection refused", "forward", fl.forward.Name, "client", fl.client.Addr(), "cause", err, "waited", since(fl.began))
	fl.server.conns.remove(&fl.stream)
	fl.turnAway(400, err)
}

// negotiate leads the client to TLS by STARTTLS.
func (fl *flow) negotiate(ctx context.Context, server *net.TCPConn, greeting []byte) (client net.Conn, head []byte, err error) {
	if len(fl.head) > 0 {
		if _, err := server.Write(fl.head); err != nil {
			return nil, nil, err
		}
	}
	return starttls.Negotiate(ctx, starttls.Config{
		Protocol: fl.forward.Protocol, Client: fl.conn, Server: server, Greeting: greeting, TLS: fl.forward.tls,
	})
}

// hangUp ends a flow in which the client, or the server, has not said what
// comes before their bytes are exchanged.
func (fl *flow) hangUp(server *net.TCPConn, err error) {
	server.Close()
	if errors.Is(err, io.EOF) {
		fl.conn.Close() // what was said last arrives
		fl.done(pipe.Result{Reason: pipe.EOF})
		return
	}
	reset(fl.conn)
	fl.done(pipe.Result{Reason: pipe.Failed, Side: pipe.Client, Err: err})
}

// fail ends a flow whose server, nil if there is none, cannot be used.
func (fl *flow) fail(server *net.TCPConn, err error) {
	if server != nil {
		server.Close()
	}
	reset(fl.conn)
	fl.errs = append(fl.errs, err)
	fl.done(pipe.Result{Reason: pipe.Unreachable})
}
