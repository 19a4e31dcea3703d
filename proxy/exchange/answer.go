package exchange

import (
	"errors"
	"strings"

	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// own makes the answer that a decision asks for.
func own(r *message.Request, d *Decision) *message.Response {
	if d.Status == 0 {
		d.Status = 403
	}
	resp := answer(r, d, d.Status)
	resp.Header = append(resp.Header, d.Header...)
	return resp
}

// failed makes the answer to a request that no backend answered. The cause
// is for the log: the page names no backend.
func failed(r *message.Request, d *Decision, fault http1.Fault, err error) *message.Response {
	status := 502
	switch fault {
	case http1.FaultTimeout:
		status = 504
	case http1.FaultClient:
		status = 400
		var e *http1.RequestError
		if errors.As(err, &e) {
			status = e.Status
		}
	}
	resp := answer(r, d, status)
	resp.Close = fault == http1.FaultClient || fault == http1.FaultAborted
	return resp
}

// answer makes an answer of our own, with the page that d has for it.
func answer(r *message.Request, d *Decision, status int) *message.Response {
	page := d.Page
	if page == (Page{}) && d.Pages != nil {
		page = d.Pages(r, status)
	}
	if page == (Page{}) {
		page.Text = message.StatusText(status) + "\n"
	}
	if page.Type == "" {
		page.Type = "text/plain; charset=utf-8"
	}
	resp := &message.Response{
		Status: status,
		Header: message.Header{{Name: "Content-Type", Value: page.Type}},
		Length: int64(len(page.Text)),
	}
	if status >= 400 {
		resp.Header.Add("Cache-Control", "no-store")
	}
	if message.NoBody(r.Method, status) {
		if status < 200 || status == 204 || status == 304 {
			resp.Length = -1
		}
		return resp
	}
	resp.Body = &stringBody{strings.NewReader(page.Text)}
	return resp
}

// A stringBody is the content of a page.
type stringBody struct{ *strings.Reader }

// Trailer returns none.
func (*stringBody) Trailer() message.Header { return nil }

// Ready is all of the rest.
func (b *stringBody) Ready() int { return b.Len() }
