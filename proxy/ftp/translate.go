package ftp

import (
	"net/netip"
	"strconv"
	"strings"
)

// errNoData is told where the reason is ours; the log has it.
const errNoData = "425 Cannot open a data connection.\r\n"

// translate gives what the server is sent in place of a client's line, and what
// its answer will mean.
func (s *session) translate(line string) (pending, string) {
	c := parseCommand(line)
	p := pending{command: c}
	if s.TLS != nil {
		if answer, ok := s.translateSecure(c); ok {
			p.local = answer
			return p, ""
		}
	}
	switch c.verb {
	case epsv:
		return p, s.translateEPSV(c) + "\r\n"
	case eprt, port:
		return s.translateActive(p)
	case foreign:
		p.local = "502 Command not implemented; use EPSV or EPRT.\r\n"
	case nothing:
		p.local = "500 Syntax error: no command.\r\n"
	case urgent:
		if c.interrupts {
			return p, synch + c.text + "\r\n"
		}
	}
	return p, c.text + "\r\n"
}

// translateEPSV asks the server for its own family, whatever the client's is.
// What names another family than the client's own is the server's to refuse.
func (s *session) translateEPSV(c command) string {
	if c.arg == "2" && !s.ClientAddr.Is4() {
		return "EPSV 1" // an IPv4-only server refuses 2
	}
	return c.text
}

// translateActive makes the gateway the place that the server connects to.
func (s *session) translateActive(p pending) (pending, string) {
	to, err := p.activeTarget(s.ClientAddr)
	if err != nil {
		s.Log.Warn("ftp: address for data refused", "client", s.ClientAddr, "argument", p.arg, "cause", err)
		p.local = err.Error() + "\r\n"
		return p, ""
	}
	if p.active, err = s.offer(to); err != nil {
		s.Log.Warn("ftp: no socket for active data", "client", s.ClientAddr, "cause", err)
		p.local = errNoData
		return p, ""
	}
	if p.verb == port || s.noEPRT {
		return p, formatPORT(p.active.at) + "\r\n"
	}
	return p, formatEPRT(p.active.at) + "\r\n"
}

// conclude gives the client the answer to its command.
func (s *session) conclude(p pending, r reply) (err error) {
	switch p.verb {
	case epsv:
		if r.unknown() && !strings.EqualFold(p.arg, "ALL") {
			if r, err = s.again("PASV"); err != nil { // RFC 6384 §3: the server is of before RFC 2428
				return err
			}
		}
		return s.concludePassive(p, r)
	case pasv:
		return s.concludePassive(p, r)
	case eprt, port:
		if p.verb == eprt && r.unknown() && !s.noEPRT {
			s.noEPRT = true
			if r, err = s.again(formatPORT(p.active.at)); err != nil {
				return err
			}
		}
		if r.code/100 == 2 {
			ctx := s.nextData()
			s.work.Go(func() { s.serveActive(ctx, p.active) })
		} else {
			s.withdraw(p.active)
		}
	case auth:
		if r.code == 234 {
			s.goBlind()
		}
	case feat:
		if s.TLS != nil {
			return s.tellClient(features(r))
		}
	}
	return s.tellClient(r.raw)
}

// again sends a second command in place of one that the server does not know.
// Nothing else is under way: the first was a barrier.
func (s *session) again(line string) (reply, error) {
	if err := s.send(false, line+"\r\n"); err != nil {
		return reply{}, err
	}
	return s.answer()
}

// concludePassive tells the client our port in place of the server's.
func (s *session) concludePassive(p pending, r reply) error {
	serverPort, ok := r.passivePort()
	switch {
	case !ok && r.namesPort():
		s.Log.Warn("ftp: no port in the server's answer", "client", s.ClientAddr, "cause", strconv.Quote(r.last))
		return s.tellClient(errNoData)
	case !ok:
		return s.tellClient(r.raw)
	}
	e, err := s.Hub.expect(s.ClientAddr, serverPort)
	if err != nil {
		s.Log.Warn("ftp: no port for passive data", "client", s.ClientAddr, "cause", err)
		return s.tellClient(errNoData)
	}
	ctx := s.nextData()
	s.work.Go(func() { s.servePassive(ctx, e, netip.AddrPortFrom(s.ServerAddr, serverPort)) })
	if p.verb == epsv {
		return s.tellClient(format229(e.port))
	}
	return s.tellClient(format227(netip.AddrPortFrom(s.Door, e.port)))
}

// goBlind ends the reading: what follows is TLS.
func (s *session) goBlind() {
	s.mu.Lock()
	s.isBlind = true
	s.mu.Unlock()
	s.Hub.addBlind(s)
}
