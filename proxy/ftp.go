package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"genkan/acl"
	"genkan/proxy/ftp"
	"genkan/proxy/pipe"
)

// passivePorts are those for the data of an FTP forward that names none.
var passivePorts = ftp.Ports{First: 50000, Last: 50099}

// ftpHub gives the hub of an FTP forward, the running one where its ports did
// not change: sessions go on over a reload.
func (st *state) ftpHub(c Forward, s *Server) *ftp.Hub {
	ports := c.Passive
	if ports == (ftp.Ports{}) {
		ports = passivePorts
	}
	if old := s.state.Load(); old != nil && old.forwards[c.Name] != nil {
		if hub := old.forwards[c.Name].hub; hub != nil && hub.Ports() == ports {
			return hub
		}
	}
	return ftp.NewHub(ports)
}

// addPassive opens the ports for data at every address of an FTP forward.
func (st *state) addPassive(one *forward, place string, errs *faults) {
	if one.Source == SourceTransparent && st.config.TransparentBy == TransparentByPort {
		errs.add(place, errors.New("source \"transparent\": data of FTP comes from any port; write transparent_by = \"socket\""))
	}
	for _, l := range one.Listen {
		if l.Network != "tcp" || l.PortEnd != l.Port {
			errs.add(place, fmt.Errorf("listen %q: protocol \"ftp\" takes one TCP port", l))
			continue
		}
		l.Port, l.PortEnd = one.hub.Ports().First, one.hub.Ports().Last
		st.eachEndpoint(l, place, errs, func(svc *service) {
			if svc.forward != nil || !svc.sites.Empty() || !svc.sni.Empty() || svc.data != nil && svc.data != one {
				errs.add(place, fmt.Errorf("passive ports %q are taken by another service; write \"passive\" with other ports", l))
				return
			}
			svc.data = one
		})
	}
}

// announcePassive has those announce the clients of the ports for data who do so
// for the control connection: from there data comes, too, and it is known by its client.
func (st *state) announcePassive(one *forward, addr netip.Addr, from []acl.Prefix) {
	for port := int(one.hub.Ports().First); port <= int(one.hub.Ports().Last); port++ {
		if svc := st.services[endpoint{"tcp", netip.AddrPortFrom(addr, uint16(port))}]; svc != nil && svc.data == one {
			svc.acceptProxy = from
		}
	}
}

// isForData is the error of who listens on a port that an FTP forward has for
// data.
func (svc *service) isForData(l Listen) error {
	if svc.data == nil {
		return nil
	}
	return fmt.Errorf("listen %q: passive ports of forward %q are there; write another port, or \"passive\" with other ports", l, svc.data.Name)
}

// arriveData leads a data connection to the session that told its port to this
// client, and to nobody else.
func (a *arrival) arriveData(f *forward) {
	if !a.take() {
		return
	}
	if !f.hub.Arrive(a.conn, a.client.Addr(), a.door.endpoint.addr.Port()) {
		f.count.denied.Add(1)
		a.server.deny.note("denied", f.kind, f.name, a.addr(), acl.Verdict{Why: "an FTP data port that was not told to this client"})
		a.refuse()
		return
	}
	a.server.gate.leave() // bounded by the session from here on
}

// gateway carries the flow's control connection through the FTP gateway.
func (fl *flow) gateway() {
	ctx, cancel := context.WithTimeout(fl.server.serving, fl.forward.Lifetime)
	defer cancel()
	fl.stream.cutWith(cancel)
	config, err := fl.secureFTP()
	if err != nil {
		fl.refuseTLS(err)
		return
	}
	server, l, err := fl.group.connect(ctx, fl.addr(), fl.dial)
	if err != nil {
		reset(fl.conn)
		fl.errs = append(fl.errs, err)
		fl.done(pipe.Result{Reason: pipe.Unreachable})
		return
	}
	fl.has(l)
	result, err := ftp.Result{}, error(nil)
	if len(fl.head) > 0 {
		_, err = server.Write(fl.head)
	}
	if err == nil {
		fl.ftpConfig(&config, server, l.addr.Addr())
		result, err = ftp.Serve(ctx, config)
	} else {
		reset(fl.conn)
		server.Close()
	}
	end := pipe.Result{Up: result.Up, Down: result.Down, Reason: pipe.EOF}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		end.Reason = pipe.Lifetime
	case err != nil:
		end.Reason, end.Err = pipe.Cut, err
	}
	fl.done(end)
}

func (fl *flow) dial(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	began := time.Now()
	conn, err := fl.state.guard.dialTCP(ctx, to, fl.source)
	if err == nil {
		fl.forward.count.waited.observe(time.Since(began))
	}
	return conn, err
}

// secureFTP begins the control connection of a client: with TLS, where the
// port speaks it from the first byte.
func (fl *flow) secureFTP() (ftp.Config, error) {
	config := ftp.Config{Client: fl.conn, Require: fl.forward.FTPRequire}
	if fl.forward.tls == nil {
		return config, nil
	}
	config.TLS = ftp.SessionTLS(fl.forward.tls)
	if fl.forward.startsPlain(fl.door.endpoint.addr.Port()) {
		return config, nil
	}
	conn, err := fl.handshake(config.TLS)
	config.Client, config.Secure = conn, true
	return config, err
}

// ftpConfig adds what is known once the server is connected.
func (fl *flow) ftpConfig(c *ftp.Config, server *net.TCPConn, backend netip.Addr) {
	c.Server = server
	c.ClientAddr, c.Door = fl.client.Addr(), fl.local.Addr()
	c.ServerAddr, c.Source = backend, server.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	c.Transparent = fl.source.transparent
	c.Hub, c.Dial, c.Relay = fl.forward.hub, fl.dial, fl.relayData
	c.Idle = fl.forward.Idle
	c.Log = fl.server.log.With("forward", fl.forward.Name)
}

// relayData gives a data connection to the engine.
func (fl *flow) relayData(client net.Conn, server *net.TCPConn, done func()) {
	conns, count := fl.server.conns, fl.forward.count
	one := &stream{client: fl.addr(), network: "tcp"}
	one.isFor(&fl.forward.gateway)
	conns.add(one)
	s := fl.server.pipe.Relay(client, server, pipe.Options{
		Idle: fl.forward.Idle, Lifetime: fl.forward.Lifetime,
		Done: func(r pipe.Result) {
			conns.remove(one)
			count.up.Add(r.Up)
			count.down.Add(r.Down)
			if r.Reason != pipe.EOF { // the file may not be whole
				fl.server.log.Info("ftp: data cut short", "forward", fl.forward.Name, "client", fl.client.Addr(),
					"up", r.Up, "down", r.Down, "end", r.Reason.String(), "by", r.Side.String(), "cause", r.Err)
			}
			done()
		},
	})
	one.cutWith(s.Cut)
	one.movedBy(s)
}
