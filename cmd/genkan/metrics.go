package main

import (
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"genkan/proxy"
	"genkan/tunnel"
)

// hostname says which front a log line or metric is of.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// metrics answers with all metrics of this front, in a registry of its own.
func (f *front) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	with := prometheus.WrapRegistererWith(prometheus.Labels{"front": hostname()}, registry)
	with.MustRegister(gauges{f}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one name that is no UTF-8 must not hide the rest
		ErrorLog:            slog.NewLogLogger(f.log.Handler(), slog.LevelError),
		MaxRequestsInFlight: 2,
	})
}

// gauges reads the counters that the parts keep anyway, at each scrape. Every label is of the configuration or a
// fixed word: nothing that a client sends becomes one.
type gauges struct{ front *front }

// Describe says nothing: which sites, rules and lists there are changes with each reload.
func (gauges) Describe(chan<- *prometheus.Desc) {}

// Collect gives all metrics.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	s := sink(out)
	state := g.front.state()
	b := readBuild()
	s.gauge("genkan_build_info", "Which Genkan this is.", 1, label{"version", b.Version}, label{"commit", b.Commit}, label{"go", b.Go})
	s.gauge("genkan_start_time_seconds", "When it began to serve, in Unix time.", float64(state.Since.UnixNano())/1e9)
	for family, how := range g.front.health() {
		if how == unused && (family == "ipv4" || state.Tunnel == nil) {
			continue // not wanted, so no alarm
		}
		s.gauge("genkan_ready", "Whether clients of the family can come in; missing where nothing listens for them.", truth(how == ready), label{"family", family})
	}
	s.connections(state.Proxy)
	for _, l := range state.Proxy.Limits {
		s.counter("genkan_limit_bites_total", "How often a limit on clients has refused or ended something.", float64(l.Bites), label{"limit", l.Name})
	}
	s.services(state.Proxy)
	s.rules(state.Proxy)
	s.pools(state.Proxy)
	s.certificates(state.Proxy)
	for _, l := range state.Proxy.Logs {
		s.counter("genkan_access_log_lost_total", "Lines that an access log lost, as its place was full or too slow.", float64(l.Lost), label{"to", l.To})
	}
	g.lists(s)
	if state.Tunnel != nil {
		s.tunnel(state.Tunnel.Status)
	}
}

// A sink takes metrics.
type sink chan<- prometheus.Metric

type label struct{ name, value string }

func (s sink) gauge(name, help string, value float64, labels ...label) {
	s.send(name, help, prometheus.GaugeValue, value, labels)
}

func (s sink) counter(name, help string, value float64, labels ...label) {
	s.send(name, help, prometheus.CounterValue, value, labels)
}

func (s sink) send(name, help string, kind prometheus.ValueType, value float64, labels []label) {
	names, values := make([]string, len(labels)), make([]string, len(labels))
	for i, l := range labels {
		names[i], values[i] = l.name, l.value
	}
	m, err := prometheus.NewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
	if err != nil { // a name that is not UTF-8
		m = prometheus.NewInvalidMetric(prometheus.NewDesc(name, help, names, nil), err)
	}
	s <- m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s sink) connections(p proxy.Stats) {
	s.gauge("genkan_connections_open", "Client connections that are open.", float64(p.Open))
	for _, f := range []struct {
		name string
		proxy.FamilyStats
	}{{"ipv4", p.IPv4}, {"ipv6", p.IPv6}} {
		family := label{"family", f.name}
		s.counter("genkan_connections_accepted_total", "Client connections that were accepted.", float64(f.Accepted), family)
		s.counter("genkan_denied_total", "Connections, UDP sessions and requests that rules refused.", float64(f.Denied), family)
		s.counter("genkan_connections_hostile_total", "Connections refused for a mapped source or a fault in a PROXY header.", float64(f.Hostile), family)
	}
}

func (s sink) services(p proxy.Stats) {
	for _, v := range p.Services {
		kind, name := label{"kind", v.Kind}, label{"name", v.Name}
		s.counter("genkan_service_allowed_total", "Connections and UDP sessions of a forward, requests of a site, that rules let in.", float64(v.Allowed), kind, name)
		s.counter("genkan_service_denied_total", "The same, that rules refused.", float64(v.Denied), kind, name)
		s.counter("genkan_service_shadow_denied_total", "The same, that rules in shadow mode would have refused.", float64(v.Shadowed), kind, name)
		s.counter("genkan_service_failed_total", "The same, for which no backend could be reached.", float64(v.Failed), kind, name)
		s.waited(v, kind, name)
		if v.Kind == "forward" {
			s.counter("genkan_service_bytes_total", "Bytes of a forward.", float64(v.Up), kind, name, label{"direction", "to_backend"})
			s.counter("genkan_service_bytes_total", "Bytes of a forward.", float64(v.Down), kind, name, label{"direction", "to_client"})
		}
	}
	for _, b := range distinctBackends(p.Backends) {
		labels := []label{{"kind", b.Kind}, {"name", b.Name}, {"backend", b.Backend}}
		s.gauge("genkan_backend_up", "Whether active checks find the backend well; 1 without them.", truth(!b.Down), labels...)
		s.gauge("genkan_backend_steered", "1 where the operator has drained or disabled the backend.", truth(b.State != proxy.BackendActive), labels...)
		s.gauge("genkan_backend_connections_open", "Connections to the backend.", float64(b.Open), labels...)
		s.counter("genkan_backend_connections_total", "Connections ever made to the backend.", float64(b.Total), labels...)
		s.counter("genkan_backend_failures_total", "Connects to the backend that failed.", float64(b.Failures), labels...)
	}
}

// waited is a histogram in seconds, once there is something in it: 10,000 quiet sites need none.
func (s sink) waited(v proxy.ServiceStats, labels ...label) {
	if v.Waited.Count() == 0 {
		return
	}
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, bound := range proxy.HistogramBounds() {
		n += uint64(v.Waited.Counts[i])
		buckets[bound.Seconds()] = n
	}
	names, values := make([]string, len(labels)), make([]string, len(labels))
	for i, l := range labels {
		names[i], values[i] = l.name, l.value
	}
	desc := prometheus.NewDesc("genkan_service_wait_seconds",
		"How long backends took: to begin the answer to a request of a site, to take a TCP connection of a forward.", names, nil)
	m, err := prometheus.NewConstHistogram(desc, uint64(v.Waited.Count()), v.Waited.Sum.Seconds(), buckets, values...)
	if err != nil { // a name that is not UTF-8
		m = prometheus.NewInvalidMetric(desc, err)
	}
	s <- m
}

// distinctBackends adds up what has one name: a backend that is given twice, or stands behind several ports.
func distinctBackends(all []proxy.BackendStats) []proxy.BackendStats {
	type key struct{ kind, name, backend string }
	at := make(map[key]int)
	sums := []proxy.BackendStats{}
	for _, b := range all {
		k := key{b.Kind, b.Name, b.Backend}
		i, ok := at[k]
		if !ok {
			at[k] = len(sums)
			sums = append(sums, b)
			continue
		}
		sums[i].Open += b.Open
		sums[i].Total += b.Total
		sums[i].Failures += b.Failures
		sums[i].Down = sums[i].Down && b.Down
	}
	return sums
}

// rules counts per rule, never per address. A rule has the verdicts that it can give.
func (s sink) rules(p proxy.Stats) {
	for _, r := range p.Rules {
		count := func(verdict string, n uint64) {
			s.counter("genkan_rule_verdicts_total", "What a rule has decided; the rule \"\" is what holds where none matches.", float64(n),
				label{"kind", r.Kind}, label{"name", r.Name}, label{"rule", r.Rule}, label{"at", r.Pos.String()}, label{"verdict", verdict})
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(r.Rule), " ")
		switch verb {
		case "allow":
			count("allowed", r.Allowed)
		case "deny":
			count("denied", r.Denied)
		case "":
			count("allowed", r.Allowed)
			count("denied", r.Denied)
		default:
			count("gated", r.Gated)
		}
	}
}

func (s sink) pools(p proxy.Stats) {
	for _, one := range p.Pools {
		pool := label{"pool", one.Name}
		s.gauge("genkan_pool_size", "Addresses of the pool.", float64(one.Size), pool)
		s.gauge("genkan_pool_mapped", "Addresses that stand for a client.", float64(one.Mapped), pool)
		s.gauge("genkan_pool_connections_open", "Connections from addresses of the pool.", float64(one.Open), pool)
	}
}

func (g gauges) lists(s sink) {
	all, err := g.front.lists.state("")
	if err != nil {
		return // only a name can be wrong
	}
	for _, l := range all.Lists {
		list := label{"list", l.Name}
		s.gauge("genkan_list_entries", "Disjoint spans of a list.", float64(l.Entries), list)
		s.gauge("genkan_list_added_entries", "Entries that were added at run time.", float64(len(l.Added)), list)
		s.gauge("genkan_list_error", "1 where the file as it is now is not in force.", truth(l.Error != ""), list)
	}
}

func (s sink) tunnel(t tunnel.Status) {
	name, path := label{"interface", t.Interface}, label{"datapath", t.Datapath}
	s.gauge("genkan_tunnel_mtu_bytes", "The tunnel's MTU.", float64(t.MTU), name)
	s.counter("genkan_tunnel_remade_total", "How often the interface had to be made again.", float64(t.Remade), name)
	for _, d := range []struct {
		direction string
		tunnel.Count
	}{{"received", t.Received}, {"sent", t.Sent}} {
		s.counter("genkan_tunnel_packets_total", "Inner packets that passed.", float64(d.Packets), name, path, label{"direction", d.direction})
		s.counter("genkan_tunnel_bytes_total", "Bytes of inner packets that passed.", float64(d.Bytes), name, path, label{"direction", d.direction})
	}
	for reason, n := range t.Drops {
		s.counter("genkan_tunnel_drops_total", "Packets that the tunnel refused.", float64(n), name, path, label{"reason", reason})
	}
}
