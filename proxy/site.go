package proxy

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync"
	"time"

	"genkan/acl"
	"genkan/proxy/message"
	"genkan/proxy/web"
)

// A webEngine serves the sites over HTTP/1.1, on net/http. What it decides is
// in package web and in judge.go.
type webEngine struct {
	server *Server
	http   *http.Server
	queue  *connQueue
	done   sync.WaitGroup
}

type arrivalKey struct{} // of the context: the *arrival of a request
type requestKey struct{} // of the context: the *request

// A request is one HTTP request on its way.
type request struct {
	arrival *arrival
	site    *site
	client  acl.Addr
	began   time.Time
}

func newWebEngine(s *Server, t Timeouts) *webEngine {
	w := &webEngine{server: s, queue: newConnQueue()}
	w.http = &http.Server{
		Handler:           w,
		ReadHeaderTimeout: t.Header,
		ReadTimeout:       t.Request,
		WriteTimeout:      t.Request,
		IdleTimeout:       t.KeepIdle,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, arrivalKey{}, c.(*webConn).arrival)
		},
	}
	return w
}

func (w *webEngine) start(ctx context.Context) {
	w.http.BaseContext = func(net.Listener) context.Context { return ctx }
	w.done.Go(func() { w.http.Serve(w.queue) })
}

// take gives an arrival to the engine.
func (w *webEngine) take(a *arrival) {
	c := &webConn{Conn: a.conn, arrival: a, stream: &stream{client: a.addr()}}
	c.stream.cutWith(func() { reset(a.conn) })
	a.server.conns.add(c.stream)
	if !w.queue.put(c) {
		c.Close()
	}
}

// shutdown lets requests finish until ctx ends.
func (w *webEngine) shutdown(ctx context.Context) { w.http.Shutdown(ctx) }

// close cuts what is left.
func (w *webEngine) close() {
	w.http.Close()
	w.queue.Close()
	w.done.Wait()
	for _, one := range w.server.state.Load().sites {
		one.transport.CloseIdleConnections()
	}
}

// ServeHTTP routes one request, judges it and passes it on.
func (w *webEngine) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	a := r.Context().Value(arrivalKey{}).(*arrival)
	if status, why := refuseRequest(r); status != 0 {
		w.answer(rw, status, why)
		return
	}
	st := w.server.state.Load() // rules of this moment, not of the connection's
	svc := st.services[a.door.endpoint]
	host, err := hostOf(r)
	if err != nil {
		w.answer(rw, http.StatusBadRequest, err.Error())
		return
	}
	var one *site
	if svc != nil {
		one, _ = svc.sites.Find(host)
	}
	if one == nil {
		w.answer(rw, http.StatusMisdirectedRequest, "no such site here")
		return
	}
	req := &request{arrival: a, site: one, client: a.addr(), began: time.Now()}
	v := w.server.judge(one.gateway, acl.Client{Addr: req.client, Tunnel: a.tunnel})
	defer v.Release()
	if !v.Allow {
		w.deny(rw, v)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
	one.proxy.ServeHTTP(rw, r)
}

// refuseRequest finds what must not go on, whatever the site. Framing faults
// are net/http's to find; it misses some, which no handler can see.
func refuseRequest(r *http.Request) (status int, why string) {
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	switch {
	case r.Method == http.MethodConnect:
		// A tunnel past every rule, and on a reused backend connection other
		// clients' answers (Traefik CVE-2026-71324).
		return http.StatusMethodNotAllowed, "CONNECT is not served"
	case fields > 200:
		return http.StatusRequestHeaderFieldsTooLarge, "more than 200 header fields"
	case r.RequestURI == "*" && r.Method == http.MethodOptions:
		return 0, ""
	}
	path := r.RequestURI
	if path == "" || path[0] != '/' {
		authority, rest, err := message.SplitAbsolute(path)
		if err == nil {
			_, err = message.ParseAuthority(authority)
		}
		if err != nil {
			return http.StatusBadRequest, err.Error()
		}
		path = rest
	}
	if path != "" {
		if err := message.CheckPath(path); err != nil {
			return http.StatusBadRequest, err.Error()
		}
	}
	return 0, ""
}

// hostOf gives the name that routes: HTTP/1.0 may have none.
func hostOf(r *http.Request) (string, error) {
	if r.Host == "" {
		return "", nil
	}
	authority, err := message.ParseAuthority(r.Host)
	return authority.Host, err
}

func (w *webEngine) answer(rw http.ResponseWriter, status int, why string) {
	rw.Header().Set("Connection", "close")
	http.Error(rw, http.StatusText(status)+": "+why, status)
}

// deny answers what the rules refuse. The rule is in our log, not in theirs.
func (w *webEngine) deny(rw http.ResponseWriter, v acl.Verdict) {
	status := v.Status
	if status == 0 {
		status = http.StatusForbidden
	}
	if v.RetryAfter > 0 {
		rw.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(v.RetryAfter.Seconds()))))
	}
	http.Error(rw, http.StatusText(status), status)
}

// connect makes what passes requests on to the backends of one.
func (one *site) connect(s *Server) {
	one.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			req := ctx.Value(requestKey{}).(*request)
			conn, l, err := one.group.connect(ctx, req.client, s.dial)
			if err != nil {
				return nil, err
			}
			return &leasedConn{TCPConn: conn, lease: l}, nil
		},
		DisableCompression:    true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       30 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	one.proxy = &httputil.ReverseProxy{
		Rewrite:       one.rewrite,
		Transport:     one.transport,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ErrorHandler:  func(rw http.ResponseWriter, r *http.Request, err error) { s.web.failed(rw, r, err) },
	}
}

// rewrite makes the backend's request. ReverseProxy has removed hop-by-hop
// fields before, so a client's "Connection: X-Forwarded-For" takes nothing of
// ours away.
func (one *site) rewrite(pr *httputil.ProxyRequest) {
	req := pr.In.Context().Value(requestKey{}).(*request)
	out := pr.Out
	out.URL.Scheme, out.URL.Host = "http", "backend"
	out.URL.RawQuery = pr.In.URL.RawQuery
	out.Host = pr.In.Host
	out.Trailer = nil
	for name := range out.Header {
		if web.Claims(name) || web.SameField(name, one.PseudoHeader) {
			delete(out.Header, name)
		}
	}
	// "h2c" would be a tunnel past every rule (Traefik CVE-2026-88008).
	if upgrade := out.Header.Get("Upgrade"); upgrade != "" && !message.EqualFold(upgrade, "websocket") {
		out.Header.Del("Upgrade")
		out.Header.Del("Connection")
	}
	id := web.Identity{Client: req.client, Scheme: "http", Host: pr.In.Host}
	for _, f := range id.Fields(one.Announce, one.PseudoHeader) {
		out.Header.Set(f.Name, f.Value)
	}
}

// failed answers a request that no backend took.
func (w *webEngine) failed(rw http.ResponseWriter, r *http.Request, err error) {
	req := r.Context().Value(requestKey{}).(*request)
	if r.Context().Err() != nil {
		return // the client has gone: nobody to tell
	}
	req.site.count.failed.Add(1)
	w.server.log.Warn("no backend", "site", req.site.Name, "client", req.client, "cause", err, "waited", since(req.began))
	status := http.StatusBadGateway
	if netErr := net.Error(nil); errors.As(err, &netErr) && netErr.Timeout() {
		status = http.StatusGatewayTimeout
	}
	http.Error(rw, http.StatusText(status), status)
}
