package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
)

// The API of a running Genkan: HTTP and JSON on a unix socket. Subcommands use it and nothing else; openapi.json
// describes it, and a test holds both against each other.

// runSocket is where a running Genkan answers.
const runSocket = "/run/genkan/genkan.sock"

// maxQuestion bounds the body of a request in bytes.
const maxQuestion = 64 << 10

//go:embed openapi.json
var openAPI []byte

// A route is one thing that can be asked for.
type route struct {
	pattern string // as http.ServeMux has it
	answer  http.HandlerFunc
}

// routes are all that this front answers on its socket.
func (f *front) routes() []route {
	all := []route{{"GET /v1/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(openAPI) // the asker has gone: nobody is left to tell
	}}}
	all = append(all, f.stateRoutes()...)
	all = append(all, f.lists.routes()...)
	all = append(all, f.connectionRoutes()...)
	all = append(all, f.backendRoutes()...)
	return append(all, f.lifeRoutes()...)
}

// serveRoutes answers routes, and nobody who was sent by a web page.
func serveRoutes(routes []route) http.Handler {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.HandleFunc(r.pattern, r.answer)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, known := mux.Handler(r)
		switch {
		case len(r.Header.Values("Origin")) > 0:
			answer(w, nil, refuse(http.StatusForbidden, "not for web pages"))
		case r.Host != "genkan" && !meansUs(r.Host, netip.Addr{}):
			answer(w, nil, refuse(http.StatusMisdirectedRequest, "Host %q is not this machine; write localhost", r.Host))
		case known == "":
			answer(w, nil, refuse(http.StatusNotFound, "nothing is at %s %s; GET /v1/openapi.json says what there is", r.Method, r.URL.Path))
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// A badStatus is an error with its HTTP status.
type badStatus struct {
	status int
	error
}

func refuse(status int, format string, args ...any) error {
	return badStatus{status, fmt.Errorf(format, args...)}
}

// A fault is how an error is answered, in JSON.
type fault struct {
	Error string `json:"error"`
}

// answer writes v, or an error: with 409 unless it says otherwise.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusConflict
		if r := (badStatus{}); errors.As(err, &r) {
			status = r.status
		}
		w.WriteHeader(status)
		v = fault{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v) // the asker has gone: nobody is left to tell
}

// question reads the body of a request.
func question[T any](w http.ResponseWriter, r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, refuse(http.StatusBadRequest, "the body: %w", err)
	}
	return v, nil
}

// isTaken tells whether another Genkan answers at our socket.
func (f *front) isTaken(ctx context.Context) bool {
	_, err := ask(ctx, f.socket, http.MethodGet, "/v1/openapi.json", nil)
	return !errors.Is(err, errNobody)
}

// openRunSocket lets subcommands ask this Genkan. Where the directory cannot be had, as without root, there is none.
func (f *front) openRunSocket(ctx context.Context) error {
	if f.socket == "" {
		return nil
	}
	inherited, err := f.from.takeListener(fdControl)
	if err != nil {
		return err
	}
	if inherited == nil && f.isTaken(ctx) {
		return fmt.Errorf("another Genkan answers at %s; stop it, or give this one a socket of its own by --socket", f.socket)
	}
	if err := os.MkdirAll(filepath.Dir(f.socket), 0o755); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	c, err := startControl(f.socket, inherited, serveRoutes(f.routes()))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		f.log.Warn("subcommands cannot ask this process", "error", err)
		return nil
	}
	f.control = c
	return err
}
