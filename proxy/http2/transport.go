package http2

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"sync"
	"time"

	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// A Transport sends requests to backends that speak HTTP/2, many over one
// connection: net/http's client, one connection at a time, for the pool's key
// is not an address alone. Use NewTransport.
type Transport struct {
	config http1.TransportConfig
	client http.Transport

	mu     sync.Mutex // guards what follows
	conns  map[http1.Target][]*link
	closed bool
}

// A link is one connection to a backend.
type link struct {
	*http.ClientConn
	idleSince time.Time // guarded by Transport.mu; zero: in use
	used      bool      // the same: a request was sent over it
}

// NewTransport returns a Transport with the same settings as one of package
// http1; CloseIdle ends it.
func NewTransport(c http1.TransportConfig) *Transport {
	t := &Transport{config: c.WithDefaults(), conns: map[http1.Target][]*link{}}
	t.client = http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) },
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return t.dialTLS(ctx)
		},
		DisableCompression:     true,
		ExpectContinueTimeout:  t.config.ContinueTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: t.config.IdleTimeout,
			PingTimeout:     t.config.DialTimeout,
			// Windows bound what we hold for a client that reads slowly.
			MaxReceiveBufferPerStream:     256 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
		},
	}
	t.client.Protocols.SetHTTP2(true)
	t.client.Protocols.SetUnencryptedHTTP2(true)
	return t
}

type targetKey struct{} // of a dial's context: the Target

func (t *Transport) dial(ctx context.Context) (net.Conn, error) {
	return t.config.Dial(ctx, ctx.Value(targetKey{}).(http1.Target))
}

func (t *Transport) dialTLS(ctx context.Context) (net.Conn, error) {
	to := ctx.Value(targetKey{}).(http1.Target)
	conn, err := t.config.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	config := to.TLS.Clone()
	config.NextProtos = []string{"h2"}
	session := tls.Client(conn, config)
	if err := session.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	if session.ConnectionState().NegotiatedProtocol != "h2" {
		conn.Close()
		return nil, errors.New("the backend does not speak HTTP/2 over TLS (ALPN)")
	}
	return session, nil
}

// take gives a connection with room for one more request; used tells that it
// had requests before.
func (t *Transport) take(ctx context.Context, to http1.Target, fresh bool) (l *link, used bool, err error) {
	if !fresh {
		if l := t.reserve(to); l != nil {
			return l, true, nil
		}
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, targetKey{}, to), t.config.DialTimeout)
	defer cancel()
	scheme := "http"
	if to.TLS != nil {
		scheme = "https"
	}
	cc, err := t.client.NewClientConn(ctx, scheme, to.Addr.String())
	if err != nil {
		return nil, false, err
	}
	if err := cc.Reserve(); err != nil {
		cc.Close()
		return nil, false, err
	}
	l = &link{ClientConn: cc, used: true}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns[to] = append(t.conns[to], l)
	return l, false, nil
}

func (t *Transport) reserve(to http1.Target) *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.conns[to] {
		if l.Err() == nil && l.Available() > 0 && l.Reserve() == nil {
			l.idleSince = time.Time{}
			return l
		}
	}
	return nil
}

// Expire closes the connections that are broken, or were not in use for
// IdleTimeout. The owner calls it every few seconds.
func (t *Transport) Expire() { t.sweep(time.Now()) }

// CloseIdle closes the connections that are not in use; the others close when
// Expire finds them so.
func (t *Transport) CloseIdle() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.sweep(time.Now())
}

func (t *Transport) sweep(now time.Time) {
	t.mu.Lock()
	var old []*link
	for to, links := range t.conns {
		kept := links[:0:0]
		for _, l := range links {
			switch {
			case l.Err() != nil:
				old = append(old, l)
				continue
			case l.InFlight() > 0:
				l.idleSince = time.Time{}
			case t.closed || !l.idleSince.IsZero() && now.Sub(l.idleSince) > t.config.IdleTimeout:
				old = append(old, l)
				continue
			case l.idleSince.IsZero():
				l.idleSince = now
			}
			kept = append(kept, l)
		}
		if t.conns[to] = kept; len(kept) == 0 {
			delete(t.conns, to)
		}
	}
	t.mu.Unlock()
	for _, l := range old {
		l.Close()
	}
}

// RoundTrip is http1.Transport's for backends that speak HTTP/2.
func (t *Transport) RoundTrip(r *message.Request, to http1.Target, next http1.Next) (*message.Response, error) {
	x, err := newTrip(t, r)
	if err != nil {
		return nil, &http1.Error{Fault: http1.FaultClient, Addr: to.Addr, Err: err}
	}
	for {
		resp, again, err := x.try(to, false)
		if again && r.Idempotent() && x.upload == nil {
			resp, _, err = x.try(to, true)
		}
		var e *http1.Error
		if err == nil || next == nil || !errors.As(err, &e) || e.Fault != http1.FaultDial {
			return resp, err
		}
		other, ok := next(to, err)
		if !ok {
			return nil, err
		}
		to = other
	}
}

// request makes net/http's request of ours. The target goes on as it came.
func request(ctx context.Context, r *message.Request, to http1.Target) (*http.Request, error) {
	host, scheme := r.Authority.Text, "http"
	if host == "" {
		host = to.Addr.String()
	}
	if to.TLS != nil {
		scheme = "https"
	}
	out, err := http.NewRequestWithContext(ctx, r.Method, scheme+"://"+host, nil)
	if err != nil {
		return nil, err
	}
	out.Host = host
	if out.URL.Opaque = r.Target; r.Target != "*" {
		out.URL.Opaque = scheme + "://" + host + r.Target // else "//x" would be a host
	}
	for _, f := range r.Header {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		out.Header[name] = append(out.Header[name], f.Value)
	}
	if !r.Header.Has("User-Agent") {
		out.Header["User-Agent"] = nil // else it would be net/http's
	}
	if r.Trailers {
		out.Header.Set("Te", "trailers")
	}
	if r.Expect {
		out.Header.Set("Expect", "100-continue")
	}
	return out, nil
}

// fields makes our header of net/http's.
func fields(in http.Header) message.Header {
	var out message.Header
	for name, values := range in {
		for _, v := range values {
			out.Add(name, v)
		}
	}
	return out
}
