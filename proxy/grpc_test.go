package proxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"genkan/acl"
)

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

// startH2C serves h in plain HTTP/2 only.
func startH2C(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), ErrorLog: quiet()}
	srv.Protocols.SetUnencryptedHTTP2(true)
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// grpcMessage is one message as gRPC frames it: no compression, its length.
func grpcMessage(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func readGRPC(r io.Reader) (string, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", err
	}
	text := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, text)
	return string(text), err
}

// grpcEcho answers each message as it comes, and ends with a status in the
// trailer; /refused has a status and no message, which is one HEADERS frame.
func grpcEcho(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Header.Get("Content-Type") != "application/grpc" {
		http.Error(w, fmt.Sprint(r.Proto, r.Header), http.StatusTeapot)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	if r.URL.Path == "/refused" {
		w.Header().Set("Grpc-Status", "7")
		w.Header().Set("Grpc-Message", "no")
		return
	}
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	for {
		text, err := readGRPC(r.Body)
		if err != nil {
			w.Header().Set("Grpc-Message", fmt.Sprint(err))
			w.Header().Set("Grpc-Status", "0")
			return
		}
		w.Write(grpcMessage("echo " + text))
		w.(http.Flusher).Flush()
	}
}

// gRPC in both directions at once, from a client over TLS or with prior
// knowledge to a server over plain HTTP/2 or TLS: messages as they are sent,
// the status behind them.
func TestGRPC(t *testing.T) {
	cert, key := writeCert(t, patience, "a.test")
	secure := startSecure(t, grpcEcho, "app.internal", "h2")
	for _, to := range []string{"h2c://" + startH2C(t, grpcEcho), "h2://" + secure.addr} {
		listen := mustListen(t, "[::1]:0", "127.0.0.1:0")
		site := Site{Name: "a.test", Listen: listen, To: mustBackend(t, to), Access: acl.AllowAll(), Cert: cert, Key: key}
		if strings.HasPrefix(to, "h2:") {
			site.BackendTLS.CA = secure.cert
		}
		s := start(t, Config{Sites: []Site{site}, Listeners: []Listener{{Listen: listen[0], TLS: true}}})
		for _, scheme := range []string{"http", "https"} {
			tr := grpcClient(s.at(t, map[string]string{"http": "127.0.0.1", "https": "::1"}[scheme]))
			defer tr.CloseIdleConnections()
			talkGRPC(t, scheme+" to "+to, tr, scheme+"://a.test")
		}
	}
}

func grpcClient(addr string) *http.Transport {
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Protocols:       new(http.Protocols),
	}
	tr.Protocols.SetUnencryptedHTTP2(true)
	tr.Protocols.SetHTTP2(true)
	return tr
}

func talkGRPC(t *testing.T, name string, tr *http.Transport, base string) {
	t.Helper()
	ask := func(path string, body io.Reader) *http.Response {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		r, err := http.NewRequestWithContext(ctx, "POST", base+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return resp
	}
	pr, pw := io.Pipe()
	go pw.Write(grpcMessage("0"))
	resp := ask("/chat", pr)
	for i := range 20 {
		if got, err := readGRPC(resp.Body); err != nil || got != fmt.Sprint("echo ", i) {
			t.Fatalf("%s: message %d: %q %v", name, i, got, err)
		}
		if i < 19 {
			pw.Write(grpcMessage(fmt.Sprint(i + 1)))
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("%s: %q %v behind the last message", name, rest, err)
	}
	if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "EOF" {
		t.Errorf("%s: trailer %q", name, resp.Trailer)
	}
	resp = ask("/refused", http.NoBody)
	if body, err := io.ReadAll(resp.Body); len(body) > 0 || err != nil || resp.Header.Get("Grpc-Status") != "7" {
		t.Errorf("%s: %q %v %v", name, body, err, resp.Header)
	}
}
