package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
)

// observedConfig has one of everything that is counted.
var observedConfig = tunnelConfig + fmt.Sprintf(`
[lists]
banned = ["203.0.113.200"]

[admin]
listen = "127.0.0.1:6464"

[pool.default]
prefix = "100.64.0.0/24"

[site.www]
hosts  = ["www.internal"]
listen = ["tunnel:80", "tunnel:443"]
tls    = "internal"
to     = "%[1]s:80"
access = ["deny banned", "allow all"]

[forward.any]
listen = "tunnel:7000"
to     = "%[1]s:7000"
source = "pool"
`, lab.BackendV4)

// TestObservability: the dashboard and the alerts ask for metrics and labels
// that the program has, and Prometheus takes the rules.
func TestObservability(t *testing.T) {
	w := mustWorld(t)
	startCounter(t, w, lab.BackendV4.String()+":7000")
	w.front(t, observedConfig)
	w.dial(t, clients[0].addr, clients[0].to, 7000)
	inject(t, w, udp6in4(lab.RelayV4, netip.MustParseAddr("::ffff:192.0.2.10"), "forged"))
	var metrics string
	waitUntil(t, patience, "a dropped packet and a connection in the metrics", func() (err error) {
		if _, metrics = curl(t, w.Front, "http://127.0.0.1:6464/metrics"); !strings.Contains(metrics, "\ngenkan_tunnel_drops_total{") || !strings.Contains(metrics, "\ngenkan_service_wait_seconds_count{") {
			err = errors.New(metrics)
		}
		return err
	})
	for _, expr := range append(dashboardQueries(t), alertQueries(t)...) {
		checkQuery(t, expr, metrics)
	}
	promtool := require.Program(t, "promtool", "prometheus")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "observability"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

var (
	metricName  = regexp.MustCompile(`genkan_[a-z0-9_]+`)
	groupLabels = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
	labelName   = regexp.MustCompile(`[a-z_]+`)
)

// checkQuery wants each metric of a query, and a sample of one of them with
// each label that the query groups by.
func checkQuery(t *testing.T, expr, metrics string) {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	if len(names) == 0 {
		t.Errorf("the query %q asks for no metric of Genkan", expr)
	}
	for _, name := range names {
		if !strings.Contains(metrics, "\n# TYPE "+histogramOf(name)+" ") {
			t.Errorf("the query %q asks for %s, which is no metric", expr, name)
			continue
		}
		samples := regexp.MustCompile(`(?m)^` + name + `\{.*$`).FindString(metrics)
		for _, group := range groupLabels.FindAllStringSubmatch(expr, -1) {
			for _, label := range labelName.FindAllString(group[1], -1) {
				if samples != "" && !strings.Contains(samples, label+`="`) {
					t.Errorf("the query %q groups by %s, which %s does not have", expr, label, name)
				}
			}
		}
	}
}

// histogramOf is the metric that a name of a histogram's series belongs to.
func histogramOf(name string) string {
	for _, suffix := range []string{"_bucket", "_sum"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name
}

func dashboardQueries(t *testing.T) (all []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	text, err := os.ReadFile("observability/dashboard.json")
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q has no query", p.Title)
		}
		for _, q := range p.Targets {
			all = append(all, q.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		all = append(all, a.Expr)
	}
	return all
}

// alertQueries are the expressions of alerts.yml, in one line or behind "|".
func alertQueries(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("observability/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^        expr: (?:\|\n((?:          .*\n)+)|(.+)\n)`).FindAllStringSubmatch(string(text), -1) {
		all = append(all, m[1]+m[2])
	}
	if n := strings.Count(string(text), "- alert: "); n == 0 || n != len(all) {
		t.Fatalf("%d queries of %d alerts", len(all), n)
	}
	return all
}
