package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"

	"genkan/proxy/certs"
	"genkan/proxy/pipe"
	"genkan/proxy/xclient"
)

// loadCert reads the certificate of a forward that names one: TLS ends here,
// and the server behind speaks plain.
func (f *forward) loadCert() error {
	switch {
	case f.Cert == "" && f.Key == "":
		return nil
	case f.Cert == "" || f.Key == "":
		return errors.New("cert and key belong together; write both")
	case f.Protocol == "ftp" || f.Protocol == "dns":
		return errors.New("cert: TLS of protocol \"" + f.Protocol + "\" is not ended here; take cert and key away")
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
func (f *forward) speaks() bool { return f.tls != nil || slices.Contains(f.Announce, "xclient") }

// speak makes the client's connection a TLS one, and says XCLIENT to the
// server, where the forward wants it, and gives both to the engine.
func (fl *flow) speak() {
	client, err := fl.handshake()
	if err != nil {
		fl.server.log.Info("connection refused", "forward", fl.forward.Name, "client", fl.client.Addr(), "cause", err, "waited", since(fl.began))
		fl.server.conns.remove(fl.stream)
		fl.turnAway()
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
	if slices.Contains(fl.forward.Announce, "xclient") {
		greeting, err := xclient.Announce(ctx, server, fl.client)
		if err == nil {
			_, err = client.Write(greeting)
		}
		if err != nil {
			fl.fail(server, err)
			return
		}
	}
	s := fl.server.pipe.Relay(client, server, pipe.Options{Head: fl.head, Idle: fl.forward.Idle, Lifetime: fl.forward.Lifetime, Done: fl.done})
	fl.stream.cutWith(s.Cut)
}

// handshake gives the connection that the client's bytes come from.
func (fl *flow) handshake() (net.Conn, error) {
	if fl.forward.tls == nil {
		return fl.conn, nil
	}
	ctx, cancel := context.WithTimeout(fl.server.serving, handshakeWithin)
	defer cancel()
	fl.stream.cutWith(cancel)
	conn := tls.Server(fl.conn, fl.forward.tls)
	return conn, conn.HandshakeContext(ctx)
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
