package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"genkan/integration/lab"
)

// Ten thousand customers, in the short form fewer, a file each: started,
// reloaded, and how much memory that takes.
func TestReliableWithTenThousandSites(t *testing.T) {
	w := mustWorld(t)
	startLoadBackend(t, w, lab.BackendV4.String()+":8080")
	dir := filepath.Join(w.Dir, "sites")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sites := times(20) * 500 // 10,000; in the short form 1,500
	for n := range sites {
		mustWrite(t, filepath.Join(dir, fmt.Sprintf("%05d.toml", n)), fmt.Sprintf(
			"[site.\"c%d.example.jp\"]\nlisten = [\"tunnel:80\", \"%s:80\"]\nto = \"%s:8080\"\naccess = [\"deny blocked\", \"limit 200/10s per /64\", \"allow all\"]\n[lists]\nblocked = [\"198.51.100.%d\", \"2001:db8:bad::/48\"]\n",
			n, lab.FrontV4, lab.BackendV4, n%200))
	}
	began := time.Now()
	p := w.front(t, "include = [\"sites/*.toml\"]\n"+tunnelConfig)
	start, startCPU := time.Since(began), cpuTime(t, p.Pid())
	checkSite(t, w, fmt.Sprintf("c%d.example.jp", sites-1))

	mustWrite(t, filepath.Join(dir, "00000.toml"), fmt.Sprintf("[site.\"new.example.jp\"]\nlisten = \"%s:80\"\nto = \"%s:8080\"\n", lab.FrontV4, lab.BackendV4))
	began = time.Now()
	if said := w.ask(t, "reload"); said != "- list \"blocked\" of "+filepath.Join(dir, "00000.toml")+"\n- site \"c0.example.jp\"\n+ site \"new.example.jp\"\n" {
		t.Errorf("reload says %.300q", said)
	}
	reload, reloadCPU := time.Since(began), cpuTime(t, p.Pid())-startCPU
	checkSite(t, w, "new.example.jp")
	checkSite(t, w, "c1.example.jp")
	for n := range 3 { // no plan of before stays in memory
		mustWrite(t, filepath.Join(dir, "00001.toml"), fmt.Sprintf("[site.\"again%d.example.jp\"]\nlisten = \"%s:80\"\nto = \"%s:8080\"\n", n, lab.FrontV4, lab.BackendV4))
		if said := w.ask(t, "reload"); !strings.Contains(said, fmt.Sprintf("\n+ site \"again%d.example.jp\"\n", n)) {
			t.Errorf("reload says %.300q", said)
		}
	}
	memory := residentMemory(t, p.Pid())
	t.Logf("%d sites: start %v (CPU %v), reload %v (CPU %v), %d MiB at most", sites,
		start.Round(time.Millisecond), startCPU, reload.Round(time.Millisecond), reloadCPU, memory>>20)
	if start > 20*time.Second || reload > 10*time.Second { // ten times the figure: the machine is busy
		t.Errorf("start %v, want 2s; reload %v, want 1s", start, reload)
	}
	if memory > 300<<20 && !raceEnabled { // the race detector takes many times as much
		t.Errorf("%d MiB, want 300", memory>>20)
	}
}

// checkSite asks for the page of one site.
func checkSite(t *testing.T, w *world, name string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return trafficClient{lab.Client4.String(), lab.FrontV4.String(), w.Client4}.dial(ctx, network, "80")
		},
	}}
	if err := ask(t.Context(), client, "http://"+name+"/"); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// cpuTime is what a process has used.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	var ticks int64
	for _, f := range fields[11:13] { // utime, stime of proc(5), in 1/100 s
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// residentMemory is the most that a process had in memory.
func residentMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ := strings.Cut(after, " kB")
	n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
