package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"genkan/proxy/certs"
	"genkan/proxy/dns"
	"genkan/proxy/ftp"
	"genkan/proxy/pipe"
	"genkan/proxy/starttls"
	"genkan/proxy/xclient"
)

// loadCert reads the certificate of a forward that names one: TLS ends here,
// and the server behind speaks plain.
func (f *forward) loadCert() error {
	switch {
	case f.TLS > TLSStart:
		return fmt.Errorf("tls %d is none of ours", f.TLS)
	case f.TLS == TLSStart && f.Protocol != "ftp" && !starttls.Supports(f.Protocol):
		return errors.New("tls \"starttls\" is for mail and FTP; write protocol = \"smtp\", \"imap\", \"pop3\" or \"ftp\" too")
	case f.TLS == TLSStart && f.Cert == "":
		return errors.New("tls \"starttls\" needs a certificate; write cert and key")
	case f.Cert == "" && f.Key == "" && f.FTPRequire != (ftp.Requirements{}):
		return errors.New("ftp_require is about TLS that ends here; write cert and key too")
	case f.FTPRequire != (ftp.Requirements{}) && f.Protocol != "ftp":
		return errors.New("ftp_require is for FTP; write protocol = \"ftp\" too")
	case f.Cert == "" && f.Key == "":
		return nil
	case f.Cert == "" || f.Key == "":
		return errors.New("cert and key belong together; write both")
	case f.Protocol == "dns":
		return errors.New("cert: TLS of protocol \"dns\" is not ended here; take cert and key away")
	case slices.ContainsFunc(f.Listen, func(l Listen) bool { return l.Network == "udp" }):
		return errors.New("cert: TLS is over TCP, and this forward listens on UDP; make them two forwards")
	}
	cert, err := certs.Load(f.Cert, f.Key)
	if err == nil {
		f.tls = certs.Config(func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil })
	}
	return err
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
	fl.lease = l
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
	return conn, conn.HandshakeContext(ctx)
}

// refuseTLS ends a flow whose client has not come to TLS.
func (fl *flow) refuseTLS(err error) {
	fl.server.log.Info("connection refused", "forward", fl.forward.Name, "client", fl.client.Addr(), "cause", err, "waited", since(fl.began))
	fl.server.conns.remove(fl.stream)
	fl.turnAway()
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
