package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"genkan/integration/lab"
	"genkan/integration/servers"
)

// probeConfig leads to one server by each way in which it may see clients.
func probeConfig(protocol string, port int, ways ...string) string {
	text := ""
	for i, way := range ways {
		to := port
		more := map[string]string{
			"own":     "source = \"own\"\nallow_open_relay = true\n",
			"pool":    "source = \"pool\"\n",
			"inside":  "source = \"pool:inside\"\n",
			"proxy":   "announce = [\"proxy-v2\"]\n",
			"xclient": "announce = [\"xclient\"]\n",
		}[way]
		if way == "proxy" {
			to = 10025
		}
		text += fmt.Sprintf("\n[forward.%[1]s-%[2]s]\nlisten = \"tunnel:%[3]d\"\nto = \"%[4]s:%[5]d\"\nprotocol = %[1]q\n%[6]s", protocol, way, 100*port+i, lab.BackendV4, to, more)
	}
	return text
}

// A mail server that relays for its own network, and a name server that looks
// up for its own, are found by asking them as clients: behind the front's own
// address, and behind a pool that lies in their network. Behind another pool,
// PROXY and XCLIENT all is well. No letter is sent.
func TestProbes(t *testing.T) {
	t.Parallel()
	cert, key := mustCert(t)
	for _, row := range []struct {
		name   string
		start  func(testing.TB, *lab.Lab) *servers.Server
		config string
		want   map[string]string // a forward's severity
	}{
		{"Postfix", func(t testing.TB, l *lab.Lab) *servers.Server {
			return servers.StartPostfix(t, l, "all", "smtpd_authorized_xclient_hosts = "+lab.InsideV4.String())
		}, probeConfig("smtp", 25, "own", "pool", "inside", "proxy", "xclient"),
			map[string]string{"smtp-own": "bad", "smtp-inside": "bad", "smtp-pool": "ok", "smtp-proxy": "ok", "smtp-xclient": "ok"}},
		{"Postfix-wants-TLS", func(t testing.TB, l *lab.Lab) *servers.Server {
			return servers.StartPostfix(t, l, "all", "smtpd_tls_security_level = encrypt", "smtpd_tls_cert_file = "+cert, "smtpd_tls_key_file = "+key)
		}, probeConfig("smtp", 25, "own", "pool", "proxy"), map[string]string{"smtp-own": "bad", "smtp-pool": "ok", "smtp-proxy": "ok"}},
		{"Sendmail", func(t testing.TB, l *lab.Lab) *servers.Server { return servers.StartSendmail(t, l, lab.BackendV4, "") },
			probeConfig("smtp", 25, "own", "pool", "inside"),
			map[string]string{"smtp-own": "bad", "smtp-inside": "bad", "smtp-pool": "ok"}},
		{"BIND", func(t testing.TB, l *lab.Lab) *servers.Server { return servers.StartBind(t, l, "") },
			probeConfig("dns", 53, "own", "pool", "inside"),
			map[string]string{"dns-own": "bad", "dns-inside": "bad", "dns-pool": "ok"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := mustWorld(t)
			server := row.start(t, w.Lab)
			front := w.front(t, tunnelConfig+"\n[pool.default]\nprefix = \"100.64.0.0/16\"\n\n[pool.inside]\nprefix = \"10.0.0.128/25\"\n"+row.config)
			for i, command := range [][]string{{"check", "--probe"}, {"doctor"}, {"check", "--probe"}} {
				if i == 2 { // before Genkan runs, and after
					stop(t, front)
				}
				text := w.ask(t, append(command, "--json", "-c", w.ConfigFile(w.Front))...)
				var answer struct {
					Probes, Findings []struct{ Check, Severity, Found string }
				}
				if err := json.Unmarshal([]byte(text[strings.IndexByte(text, '{'):]), &answer); err != nil {
					t.Fatalf("%v in:\n%s", err, text)
				}
				got := map[string]string{}
				for _, f := range append(answer.Probes, answer.Findings...) {
					if name := regexp.MustCompile(`of forward "([a-z-]+)"`).FindStringSubmatch(f.Found); name != nil && strings.HasPrefix(f.Check, "open ") {
						if got[name[1]] != "bad" {
							got[name[1]] = f.Severity
						}
					}
				}
				for name, want := range row.want {
					if got[name] != want {
						t.Errorf("%q: %s is %q, want %q:\n%s", command, name, got[name], want, text)
					}
				}
			}
			if routes, err := out(t, w.Front, "ip", "route", "show", "table", "local"); err != nil || strings.Contains(routes, "100.64.") || strings.Contains(routes, "10.0.0.128") {
				t.Errorf("routes are left: %v\n%s", err, routes)
			}
			if strings.Contains(server.Log(), "queued as") || strings.Contains(server.Log(), "Received:") {
				t.Errorf("a letter was sent:\n%s", server.Log())
			}
		})
	}
}
