package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of the admin listener: it is for one monitoring system and a person or two.
const (
	adminConns    = 32
	adminPatience = 10 * time.Second // to read a request, and for the next one on a connection
	adminAnswer   = time.Minute      // to write one answer
	adminHeader   = 16 << 10         // bytes
)

// An admin shows the state and the metrics over TCP. Nothing can be changed there: that is what the unix socket is
// for, which root and a group can reach. The zero admin listens nowhere.
type admin struct {
	handler http.Handler
	at      netip.AddrPort // as configured; invalid: nowhere
	serving *adminServer   // nil: none

	inherited net.Listener // of the process before, until the first move; nil: none
}

// An adminServer is one listener, with the goroutine that serves it.
type adminServer struct {
	http.Server
	listener net.Listener
	served   chan struct{}
	left     bool // another process serves the listener now
}

// move makes ready to listen at another address. Nothing has changed until commit is called; cancel, in its place,
// gives up what was made ready. Where the address stays, so does the listener.
func (a *admin) move(ctx context.Context, to netip.AddrPort) (commit func() error, cancel func(), err error) {
	if to == a.at && a.inherited == nil {
		return func() error { return nil }, func() {}, nil
	}
	var l net.Listener
	if l = a.inherited; l != nil && l.Addr().String() != to.String() {
		l.Close() // another place now
		l = nil
	}
	a.inherited = nil
	if l == nil && to.IsValid() {
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", to.String()); err != nil {
			return nil, nil, fmt.Errorf("[admin] listen %q: %w", to, err)
		}
	}
	cancel = func() {
		if l != nil {
			_ = l.Close() // nobody was told of it
		}
	}
	return func() error {
		err := a.close()
		a.at = to
		if l != nil {
			a.serving = serveAdmin(l, a.handler)
		}
		return err
	}, cancel, nil
}

// openAdmin listens as the plan says.
func (f *front) openAdmin(ctx context.Context) error {
	f.admin.handler = f.adminAnswers()
	var err error
	if f.admin.inherited, err = f.from.takeListener(fdAdmin); err != nil {
		return err
	}
	commit, _, err := f.admin.move(ctx, f.plan.Admin)
	if err == nil {
		err = commit()
	}
	return err
}

// logAdmin logs where the admin listener is.
func (f *front) logAdmin() {
	if at := f.admin.addr(); at != "" {
		f.log.Info("admin listens", "on", at)
	}
}

// serveAdmin serves a listener until close.
func serveAdmin(l net.Listener, handler http.Handler) *adminServer {
	s := &adminServer{listener: l, served: make(chan struct{})}
	s.Handler = onlyLook(l.Addr().(*net.TCPAddr).AddrPort().Addr(), handler)
	s.ReadTimeout, s.WriteTimeout, s.IdleTimeout = adminPatience, adminAnswer, adminPatience
	s.MaxHeaderBytes = adminHeader
	go func() {
		defer close(s.served)
		_ = s.Serve(netutil.LimitListener(l, adminConns)) // it ends by close
	}()
	return s
}

// addr is where a listens, "" for nowhere.
func (a *admin) addr() string {
	if a.serving == nil {
		return ""
	}
	return a.serving.listener.Addr().String()
}

// leave lets another process, which has the listener too, take the questions. Those that came go on.
func (a *admin) leave() error {
	if a.serving == nil || a.serving.left {
		return nil
	}
	a.serving.left = true
	return a.serving.listener.Close()
}

// close lets answers that are being written finish.
func (a *admin) close() error {
	if a.serving == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminPatience)
	defer cancel()
	err := a.serving.Shutdown(ctx)
	if a.serving.left && errors.Is(err, net.ErrClosed) {
		err = nil // by leave
	}
	if err != nil {
		err = errors.Join(err, a.serving.Close())
	}
	<-a.serving.served
	a.serving = nil
	return err
}

// onlyLook lets requests pass that look and do not act, by programs that mean us: a web page that is open on this
// machine can send a browser to the loopback, with its own name in Host (DNS rebinding) or with an Origin.
func onlyLook(own netip.Addr, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead: // RFC 9110 §9.1: both are a must, and monitors ask by HEAD
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET; changes are made by genkan list and genkan reload", http.StatusMethodNotAllowed)
		case len(r.Header.Values("Origin")) > 0:
			http.Error(w, "not for web pages", http.StatusForbidden)
		case !meansUs(r.Host, own):
			http.Error(w, "Host is not this machine; write localhost or the address of [admin]", http.StatusMisdirectedRequest)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// meansUs reports whether Host is localhost, an address of the loopback, or the one we listen on.
func meansUs(host string, own netip.Addr) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && (addr == own || addr.IsLoopback())
}

// adminAnswers is what there is to look at.
func (f *front) adminAnswers() http.Handler {
	mux := http.NewServeMux()
	for _, r := range f.pageRoutes() {
		mux.HandleFunc(r.pattern, r.answer)
	}
	mux.Handle("GET /metrics", f.metrics())
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, f.state(), nil) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { f.answerHealth(w, "ipv4", "ipv6") })
	mux.HandleFunc("GET /healthz/{family}", func(w http.ResponseWriter, r *http.Request) {
		family := r.PathValue("family")
		if family != "ipv4" && family != "ipv6" {
			http.NotFound(w, r)
			return
		}
		f.answerHealth(w, family)
	})
	return mux
}

// answerHealth says a line for each family, with status 200 where all that listen are ready.
func (f *front) answerHealth(w http.ResponseWriter, families ...string) {
	state, status := f.health(), http.StatusOK
	var words strings.Builder
	for _, family := range families {
		if state[family] == absent || len(families) == 1 && state[family] != ready {
			status = http.StatusServiceUnavailable
		}
		fmt.Fprintf(&words, "%s %s\n", family, state[family])
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, &words) // the asker has gone: nobody is left to tell
}

// How one address family stands.
const (
	ready  = "ready"  // a listener whose address this host has
	absent = "absent" // listeners, and the host has none of their addresses
	unused = "unused" // no listener
)

// health says how each family stands.
func (f *front) health() map[string]string {
	state := map[string]string{"ipv4": unused, "ipv6": unused}
	ours, err := net.InterfaceAddrs()
	for _, a := range f.proxy.Addrs() {
		at, parseErr := netip.ParseAddrPort(a.String())
		if parseErr != nil {
			continue
		}
		family := "ipv6"
		if at.Addr().Unmap().Is4() {
			family = "ipv4"
		}
		has := at.Addr().IsUnspecified() || err == nil && slices.ContainsFunc(ours, func(o net.Addr) bool {
			p, err := netip.ParsePrefix(o.String())
			return err == nil && (p.Addr() == at.Addr().Unmap().WithZone("") || p.Addr().IsLoopback() && at.Addr().IsLoopback())
		})
		switch {
		case has:
			state[family] = ready
		case state[family] == unused:
			state[family] = absent
		}
	}
	return state
}
