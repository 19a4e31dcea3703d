package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"genkan/proxy/message"
)

// httpStatuses reads "204" or "200-399".
func httpStatuses(text string) (low, high int, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.Atoi(first)
	high, err2 := strconv.Atoi(last)
	if err1 != nil || err2 != nil || low < 100 || high > 599 || low > high {
		return 0, 0, fmt.Errorf("check: status %q is none; write one as \"204\", or a range as \"200-399\"", text)
	}
	return low, high, nil
}

// checkHTTP asks a backend for one path over a connection that is there, in
// the way in which the backend is spoken to. It follows no redirect: that
// could lead anywhere.
func (g *group) checkHTTP(ctx context.Context, m *member, conn net.Conn) error {
	c := g.config.check
	tr := &http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxAnswer,
		TLSClientConfig:        m.tls.Clone(),
		Protocols:              new(http.Protocols),
	}
	tr.Protocols.SetHTTP1(m.scheme == schemeHTTP || m.scheme == schemeHTTPS)
	tr.Protocols.SetHTTP2(m.scheme == schemeH2)
	tr.Protocols.SetUnencryptedHTTP2(m.scheme == schemeH2C)
	used := false
	tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
		if used {
			return nil, errors.New("a check has one connection")
		}
		used = true
		return conn, nil
	}
	defer tr.CloseIdleConnections()
	url := "http://"
	if m.tls != nil {
		url = "https://"
		tr.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1) // a handshake is what is to be tried
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+m.address()+c.Path, nil)
	if err != nil {
		return err
	}
	r.Host = c.Host
	r.Header.Set("User-Agent", "genkan-check")
	resp, err := tr.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if low, high, err := httpStatuses(c.Status); err != nil || resp.StatusCode < low || resp.StatusCode > high {
		return fmt.Errorf("GET %s: status %d, want %s", c.Path, resp.StatusCode, c.Status)
	}
	if c.Expect == "" {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if !bytes.Contains(body, []byte(c.Expect)) {
		return errors.Join(fmt.Errorf("GET %s: the first %d bytes of the answer lack %q", c.Path, len(body), c.Expect), err)
	}
	return nil
}

// address is the backend's, as a URL has it.
func (m *member) address() string {
	_, address, found := strings.Cut(m.text, "://")
	if !found {
		return m.text
	}
	return address
}

// fillHTTP checks what is of HTTP in c, and puts the defaults in.
func (c *Check) fillHTTP() error {
	switch {
	case c.Path == "" && (c.Host != "" || c.Status != ""):
		return errors.New("check: host and status are of a check by HTTP; write a path, too")
	case c.Path == "":
		return nil
	case c.Path[0] != '/' || strings.ContainsFunc(c.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
		return fmt.Errorf("check: path %q is none; write one that begins with \"/\", as \"/healthz\"", c.Path)
	case c.Send != "":
		return errors.New("check: send and path are two ways of asking; keep one")
	case c.Status == "":
		c.Status = "200-399"
	}
	if _, _, err := httpStatuses(c.Status); err != nil {
		return err
	}
	name, err := aLabels(c.Host)
	if err == nil && name != "" {
		_, err = message.ParseAuthority(name)
	}
	if err != nil {
		return fmt.Errorf("check: %w; write what Host is to say, as \"www.example.jp\"", err)
	}
	c.Host = name
	return nil
}
