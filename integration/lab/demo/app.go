package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"genkan/integration/lab"
)

// A visit is what the legacy application saw of one request.
type visit struct {
	remote    string // the address that connected
	forwarded string // X-Forwarded-For
}

// An app is the IPv4-only web application behind Genkan. It shows each visitor
// what it knows of him.
type app struct {
	server *http.Server
	ended  chan struct{}

	mu     sync.Mutex // guards visits
	visits []visit
}

// maxVisits bounds what an app remembers.
const maxVisits = 1000

// startApp listens inside the backend, where there is no IPv6.
func startApp(backend *lab.Namespace, addr string) (*app, error) {
	var l net.Listener
	err := backend.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("demo: the application: %w", err)
	}
	a := &app{ended: make(chan struct{})}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute}
	go func() {
		defer close(a.ended)
		_ = a.server.Serve(l)
	}()
	return a, nil
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	v := visit{remote: host, forwarded: r.Header.Get("X-Forwarded-For")}
	a.mu.Lock()
	if len(a.visits) < maxVisits {
		a.visits = append(a.visits, v)
	}
	a.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "Hello from a server of 1999 that knows nothing but IPv4.\n")
	fmt.Fprintf(w, "I was reached from %s; X-Forwarded-For says %q.\n", v.remote, v.forwarded)
}

// take returns the visits since the last call.
func (a *app) take() []visit {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.visits
	a.visits = nil
	return v
}

func (a *app) stop(ctx context.Context) {
	if a.server.Shutdown(ctx) != nil {
		a.server.Close()
	}
	<-a.ended
}
