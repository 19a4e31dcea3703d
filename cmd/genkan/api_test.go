package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"genkan/proxy"
)

// An apiDocument is openapi.json, as far as it is looked at.
type apiDocument struct {
	Paths map[string]map[string]struct {
		RequestBody struct {
			Content map[string]struct{ Schema map[string]any }
		}
		Responses map[string]struct {
			Content map[string]struct{ Schema map[string]any }
		}
	}
}

func mustReadAPI(t *testing.T) apiDocument {
	t.Helper()
	var d apiDocument
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// What the program answers is what openapi.json describes: each route of one is in the other.
func TestAPIRoutes(t *testing.T) {
	var described, answered []string
	for path, methods := range mustReadAPI(t).Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	f := &front{}
	for _, r := range f.routes() {
		answered = append(answered, r.pattern)
	}
	slices.Sort(described)
	slices.Sort(answered)
	if !slices.Equal(described, answered) {
		t.Errorf("described %q\nanswered %q", described, answered)
	}
}

// An apiClient asks a daemon and holds each answer against openapi.json.
type apiClient struct {
	http.Client
	document apiDocument
	compiler *jsonschema.Compiler
	checks   int
	seen     map[string]bool // "METHOD /path" of the document that were answered with 200
}

func newAPIClient(t *testing.T, socket string) *apiClient {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c := &apiClient{document: mustReadAPI(t), compiler: jsonschema.NewCompiler(), seen: map[string]bool{}}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("api.json", document); err != nil {
		t.Fatal(err)
	}
	c.Timeout = patience
	c.Transport = &http.Transport{DisableKeepAlives: true, Dial: func(string, string) (net.Conn, error) { return net.Dial("unix", socket) }}
	return c
}

// ask puts a question; path is as in the document. The answer is checked, and returned.
func (c *apiClient) ask(t *testing.T, method, path, fill, body string, status int) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://genkan"+fill, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var text []byte
	if strings.Contains(answer.Header.Get("Content-Type"), "ndjson") {
		lines := bufio.NewScanner(answer.Body)
		if !lines.Scan() {
			t.Fatalf("%s %s: no line: %v", method, fill, lines.Err())
		}
		text = bytes.Clone(lines.Bytes())
	} else if text, err = io.ReadAll(answer.Body); err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != status {
		t.Errorf("%s %s: status %d, want %d: %s", method, fill, answer.StatusCode, status, text)
	}
	which := "200"
	if answer.StatusCode != 200 {
		which = "default"
	} else {
		c.seen[method+" "+path] = true
	}
	content := c.document.Paths[path][strings.ToLower(method)].Responses[which].Content
	media, ok := content[answer.Header.Get("Content-Type")]
	if !ok {
		t.Errorf("%s %s: an answer of type %q, which is not described", method, fill, answer.Header.Get("Content-Type"))
		return text
	}
	c.check(t, method+" "+fill, media.Schema, text)
	return text
}

// check validates a text against a schema of the document.
func (c *apiClient) check(t *testing.T, what string, schema map[string]any, text []byte) {
	t.Helper()
	wrapped, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.ReplaceAll(string(wrapped), `"#/`, `"api.json#/`)))
	if err != nil {
		t.Fatal(err)
	}
	c.checks++
	name := fmt.Sprintf("part%d.json", c.checks)
	if err := c.compiler.AddResource(name, whole); err != nil {
		t.Fatal(err)
	}
	s, err := c.compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = s.Validate(value)
	}
	if err != nil {
		t.Errorf("%s: %v\n%.2000s", what, err, text)
	}
}

// Every route of the API does what it says, and its answers, refusals too, are as openapi.json has them.
func TestAPI(t *testing.T) {
	c := startConfigured(t, "[lists]\nbanned = [\"192.0.2.1\"]\n[pool.default]\nprefix = \"127.9.0.0/24\"\n"+
		"[site.\"www.test\"]\nlisten = \"127.0.0.1:0\"\nto = [\"127.0.0.3:9\", \"127.0.0.4:9\"]\naccess = [\"deny banned\", \"limit 9/1m\", \"allow all\"]\n")
	api := newAPIClient(t, c.socket)
	var addr string
	for _, l := range mustDecode[[]listenerState](t, api.ask(t, "GET", "/v1/listeners", "/v1/listeners", "", 200)) {
		if strings.HasPrefix(l.Address, "127.0.0.97:") {
			addr = l.Address
		}
	}
	conn := mustDial(t, addr)
	checkEcho(t, conn)

	for _, path := range []string{
		"/v1/openapi.json", "/v1/status", "/v1/sites", "/v1/forwards", "/v1/rules", "/v1/limits", "/v1/pools",
		"/v1/certificates", "/v1/config", "/v1/backends", "/v1/lists", "/v1/bans",
	} {
		api.ask(t, "GET", path, path, "", 200)
	}
	api.ask(t, "GET", "/v1/tunnel", "/v1/tunnel", "", 404)
	api.ask(t, "GET", "/v1/gates", "/v1/gates?name=www.test&client=192.0.2.7&path=/", "", 200)
	api.ask(t, "GET", "/v1/gates", "/v1/gates?name=www.tes&client=192.0.2.7", "", 404)
	api.ask(t, "GET", "/v1/gates", "/v1/gates?name=www.test&client=192.0.2", "", 400)
	api.ask(t, "GET", "/v1/who", "/v1/who?address=127.9.0.1", "", 200)
	api.ask(t, "GET", "/v1/who", "/v1/who?address=127.9.0.1&at=now", "", 400)
	api.ask(t, "GET", "/v1/lists", "/v1/lists?name=band", "", 409)

	open := mustDecode[connectionsState](t, api.ask(t, "GET", "/v1/connections", "/v1/connections?client=127.0.0.0/8&kind=forward&name=a&limit=5", "", 200))
	if open.Total != 1 || len(open.Connections) != 1 || open.Connections[0].Up != 18 || open.Connections[0].Backend != c.echo {
		t.Fatalf("connections: %+v", open)
	}
	api.ask(t, "GET", "/v1/connections", "/v1/connections?limit=x", "", 400)
	api.ask(t, "GET", "/v1/connections", "/v1/connections?client=10.1.2.3/8", "", 400)
	api.ask(t, "DELETE", "/v1/connections/{id}", "/v1/connections/0", "", 404)
	api.ask(t, "DELETE", "/v1/connections/{id}", fmt.Sprintf("/v1/connections/%d", open.Connections[0].ID), "", 200)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that was killed goes on")
	}
	checkEcho(t, mustDial(t, addr))
	api.ask(t, "DELETE", "/v1/connections", "/v1/connections", "", 400)
	if cut := mustDecode[cutState](t, api.ask(t, "DELETE", "/v1/connections", "/v1/connections?client=127.0.0.1", "", 200)); cut.Cut != 1 {
		t.Errorf("%d connections killed, want 1", cut.Cut)
	}

	api.ask(t, "POST", "/v1/backends", "/v1/backends", `{"name":"a","state":"drain"}`, 200)
	checkDenied(t, addr)
	for _, row := range []struct{ body, want string }{
		{`{"name":"other","state":"drain"}`, `no site, route or forward with backends "other"; genkan backend list shows them`},
		{`{"name":"www.tes"}`, `no site, route or forward with backends "www.tes"; did you mean "www.test"?`},
		{`{"name":"www.test","backend":"127.0.0.3:8"}`, `no backend of "www.test" has the address "127.0.0.3:8"; did you mean "127.0.0.3:9"?`},
		{`{"name":"site/www.test"}`, `"site/www.test" has several backends; say which: ["127.0.0.3:9" "127.0.0.4:9"]`},
		{`{"name":"a","state":"off"}`, `state "off" of a backend; write "active", "drain" or "disable"`},
		{`{"nam":"a"}`, `the body: json: unknown field "nam"`},
	} {
		status := 404
		switch {
		case strings.Contains(row.want, "several"), strings.Contains(row.want, "state"):
			status = 409
		case strings.Contains(row.want, "body"):
			status = 400
		}
		if got := mustDecode[fault](t, api.ask(t, "POST", "/v1/backends", "/v1/backends", row.body, status)); got.Error != row.want {
			t.Errorf("%s: got %q, want %q", row.body, got.Error, row.want)
		}
	}
	api.ask(t, "POST", "/v1/backends", "/v1/backends", `{"name":"www.test","backend":"127.0.0.3:9","weight":7}`, 200)

	api.ask(t, "POST", "/v1/lists/{name}/entries", "/v1/lists/banned/entries", `{"entry":"198.51.100.0/24","for":"2d","cut":true}`, 200)
	api.ask(t, "POST", "/v1/lists/{name}/entries", "/v1/lists/banned/entries", `{"entry":"198.51.100.0/24","for":"soon"}`, 400)
	if bans := mustDecode[[]ban](t, api.ask(t, "GET", "/v1/bans", "/v1/bans", "", 200)); len(bans) != 1 || bans[0].List != "banned" || bans[0].Until == nil || time.Until(*bans[0].Until) < 47*time.Hour {
		t.Errorf("bans: %+v", bans)
	}
	api.ask(t, "DELETE", "/v1/lists/{name}/entries", "/v1/lists/banned/entries?entry=198.51.100.0/24", "", 200)
	api.ask(t, "DELETE", "/v1/lists/{name}/entries", "/v1/lists/banned/entries?entry=198.51.100.0/24", "", 409)

	api.ask(t, "POST", "/v1/reload", "/v1/reload?dry_run=true", "", 200)
	c.write(t, "sites/b.toml", c.forward("b"))
	if done := mustDecode[reloaded](t, api.ask(t, "POST", "/v1/reload", "/v1/reload", "", 200)); !slices.Equal(done.Changes, []string{`+ forward "b"`}) {
		t.Errorf("reload: %q", done.Changes)
	}
	if done := mustDecode[rolledBack](t, api.ask(t, "POST", "/v1/rollback", "/v1/rollback?dry_run=true", "", 200)); len(done.Files) != 1 || c.read(t, "sites/b.toml") == "absent" {
		t.Errorf("rollback: %+v", done)
	}
	// A process that runs as root may write the state only; whether it has done so shows in the files.
	api.ask(t, "POST", "/v1/upgrade", "/v1/upgrade?binary=/bin/false", "", 200)
	if _, err := ask(t.Context(), c.socket, http.MethodGet, "/v2/status", nil); err == nil || err.Error() != "nothing is at GET /v2/status; GET /v1/openapi.json says what there is" {
		t.Error(err)
	}

	for method, paths := range map[string][]string{"GET": {"/v1/tunnel", "/v1/logs"}, "POST": {"/v1/rollback"}} { // see below, and TestLogStream
		for _, path := range paths {
			api.seen[method+" "+path] = true
		}
	}
	for path, methods := range api.document.Paths {
		for method := range methods {
			if m := strings.ToUpper(method); !api.seen[m+" "+path] {
				t.Errorf("%s %s was never answered", m, path)
			}
		}
	}
}

func mustDecode[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// Web pages cannot ask, whatever brings them to the socket, and only root and the group can reach it.
func TestAPIRefusesStrangers(t *testing.T) {
	c := startConfigured(t, "")
	api := newAPIClient(t, c.socket)
	rows := []struct {
		host, origin string
		status       int
		want         string
	}{
		{"genkan", "", 200, ""},
		{"localhost", "", 200, ""},
		{"localhost", "http://localhost", 403, "not for web pages"},
		{"rebound.example", "", 421, `Host "rebound.example" is not this machine; write localhost`},
	}
	for _, row := range rows {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+row.host+"/v1/limits", nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.origin != "" {
			r.Header.Set("Origin", row.origin)
		}
		answer, err := api.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != row.status || row.want != "" && mustDecode[fault](t, text).Error != row.want {
			t.Errorf("%+v: %d %s", row, answer.StatusCode, text)
		}
	}
	info, err := os.Stat(c.socket)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v, %v", info.Mode(), err)
	}
	t.Logf("the unix socket: %d kinds of asker, those sent by web pages refused; mode %v", len(rows), info.Mode().Perm())
}

// How backends are steered outlives a restart.
func TestSteeringIsKept(t *testing.T) {
	c := startConfigured(t, "")
	newAPIClient(t, c.socket).ask(t, "POST", "/v1/backends", "/v1/backends", `{"name":"a","state":"disable","weight":3}`, 200)
	if status := c.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	checkSteered := func(want proxy.Steering) {
		t.Helper()
		d := startProcess(t, "run", "-c", c.file, "--socket", c.socket)
		all, err := askFor[[]proxy.BackendStats](t.Context(), c.socket, "/v1/backends")
		if err != nil || len(all) != 1 || all[0].Steering != want {
			t.Errorf("%+v, %v, want %+v", all, err, want)
		}
		d.stop(t, syscall.SIGTERM)
	}
	checkSteered(proxy.Steering{State: proxy.BackendDisabled, Weight: 3})
	c.write(t, "state/backends.json", "damaged")
	checkSteered(proxy.Steering{State: proxy.BackendActive, Weight: 1})
}

// The log can be listened to; nothing is kept for who does not listen.
func TestLogStream(t *testing.T) {
	c := startConfigured(t, "")
	api := newAPIClient(t, c.socket)
	stream, err := askStream(t.Context(), c.socket, http.MethodGet, "/v1/logs", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	api.ask(t, "POST", "/v1/reload", "/v1/reload", "", 200)
	lines := bufio.NewScanner(stream)
	for lines.Scan() {
		api.check(t, "log line", map[string]any{"$ref": "#/components/schemas/LogLine"}, lines.Bytes())
		if strings.Contains(lines.Text(), `"msg":"reloaded"`) && strings.Contains(lines.Text(), `"front":`) {
			break
		}
	}
	if err := lines.Err(); err != nil || lines.Text() == "" {
		t.Errorf("the stream ended: %v", err)
	}
	c.stop(t, syscall.SIGTERM)
	for lines.Scan() { // it ends with the daemon
	}
}

// A slow listener loses lines, is told how many, and holds nobody up; what nobody hears is not even written.
func TestLogHub(t *testing.T) {
	hub := &logHub{}
	log := slog.New(hub.handler(nil)).With("front", "a").WithGroup("g")
	if log.Enabled(t.Context(), slog.LevelError) {
		t.Error("it works for nobody")
	}
	l, leave, ok := hub.listen()
	if !ok {
		t.Fatal("nobody may listen")
	}
	for i := range heardLines + 5 {
		log.Info("line", "n", i)
	}
	if len(l.lines) != heardLines || l.lost.Load() != 5 {
		t.Errorf("%d lines wait, %d are lost", len(l.lines), l.lost.Load())
	}
	if first := string(<-l.lines); !strings.Contains(first, `"front":"a","g":{"n":0}`) {
		t.Errorf("the first line: %s", first)
	}
	for range mostLogListeners - 1 {
		_, leave, ok := hub.listen()
		if !ok {
			t.Error("too few may listen")
		}
		defer leave()
	}
	if _, _, ok := hub.listen(); ok {
		t.Error("too many may listen")
	}
	leave()
	if _, leave, ok := hub.listen(); !ok {
		t.Error("a place that was left is not free")
	} else {
		leave()
	}
}
