package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"time"

	"genkan/integration/lab"
)

// A visitor is one act of the demo: who comes, to which address, and what has
// to happen.
type visitor struct {
	title  string
	from   netip.Addr
	to     netip.Addr
	refuse bool
}

var visitors = []visitor{
	{title: "A client that has only IPv6", from: lab.Client6, to: lab.Front6},
	{title: "A client that has only IPv4, same site, same rules", from: lab.Client4, to: lab.FrontV4},
	{title: "An IPv6 client on the list \"blocked\"", from: lab.Denied6, to: lab.Front6, refuse: true},
	{title: "An IPv4 client on the list \"blocked\"", from: lab.Denied4, to: lab.FrontV4, refuse: true},
}

func (v visitor) url() string {
	if v.to.Is6() {
		return "http://[" + v.to.String() + "]/"
	}
	return "http://" + v.to.String() + "/"
}

func (v visitor) namespace(l *lab.Lab) *lab.Namespace {
	if v.from.Is6() {
		return l.Client6
	}
	return l.Client4
}

// An answer is what the client got.
type answer struct {
	status string
	code   int
	took   time.Duration
}

// fetch asks for the page as the visitor, on a connection of its own.
func fetch(ctx context.Context, l *lab.Lab, v visitor) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(v.from, 0)), Timeout: 3 * time.Second}
			err = v.namespace(l).Do(func() error {
				c, err = dialer.DialContext(ctx, network, addr)
				return err
			})
			return c, err
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url(), nil)
	if err != nil {
		return answer{}, err
	}
	begin := time.Now()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)); err != nil {
		return answer{}, err
	}
	return answer{status: response.Status, code: response.StatusCode, took: time.Since(begin)}, nil
}

// A verdict is the answer of "genkan explain".
type verdict struct {
	Verdict string `json:"verdict"`
	Rule    string `json:"rule"`
	Line    int    `json:"line"`
}

func (s *stage) explain(ctx context.Context, v visitor) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.cfg.Program, "explain", "-c", s.lab.ConfigFile(s.lab.Front), "--json", "legacy", v.from.String())
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 3) { // 3: denied
		return verdict{}, fmt.Errorf("demo: genkan explain: %w: %s", err, &complaint)
	}
	var answer verdict
	if err := json.Unmarshal(out, &answer); err != nil {
		return verdict{}, fmt.Errorf("demo: genkan explain: %w in %q", err, out)
	}
	return answer, nil
}

// visits plays all acts and fails if anything went otherwise than it must.
func (s *stage) visits(ctx context.Context) error {
	var errs []error
	for i, v := range visitors {
		if err := s.visit(ctx, i+1, v); err != nil {
			errs = append(errs, err)
			s.p.failure(err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("demo: %d of %d visits did not go as they must:\n%w", len(errs), len(visitors), errors.Join(errs...))
	}
	s.p.allGood()
	return nil
}

// visit plays one act: what is told is what was seen on the way.
func (s *stage) visit(ctx context.Context, n int, v visitor) error {
	s.p.act(n, v)
	w, err := watch(s.lab.ISP)
	if err != nil {
		return err
	}
	defer w.close()
	got, err := fetch(ctx, s.lab, v)
	if err != nil {
		return fmt.Errorf("demo: %s from %s: %w", v.url(), v.from, err)
	}
	if v.from.Is6() {
		seen, ok := w.find(v.from)
		if !ok {
			return fmt.Errorf("demo: no 6rd packet from %s on the IPv4 wire", v.from)
		}
		s.p.tunnel(seen)
	}
	rule, err := s.explain(ctx, v)
	if err != nil {
		return err
	}
	s.p.verdict(rule)
	seen := s.app.take()
	s.p.backend(seen)
	s.p.answer(got)
	return judge(v, got, rule, seen)
}

// judge says what is wrong with a visit.
func judge(v visitor, got answer, rule verdict, seen []visit) error {
	if v.refuse {
		if got.code != http.StatusForbidden || rule.Verdict != "deny" || len(seen) != 0 {
			return fmt.Errorf("demo: %s must be refused and got %q, verdict %q, %d requests at the application", v.from, got.status, rule.Verdict, len(seen))
		}
		return nil
	}
	if got.code != http.StatusOK || rule.Verdict != "allow" {
		return fmt.Errorf("demo: %s may enter and got %q, verdict %q", v.from, got.status, rule.Verdict)
	}
	want := visit{remote: lab.InsideV4.String(), forwarded: v.from.String()}
	if len(seen) != 1 || seen[0] != want {
		return fmt.Errorf("demo: the application saw %+v of %s, not %+v", seen, v.from, want)
	}
	return nil
}
