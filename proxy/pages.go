package proxy

import (
	"fmt"
	"html"
	"strings"

	"genkan/proxy/exchange"
	"genkan/proxy/message"
)

// hint says what is wrong, to somebody who can only wait or tell the operator:
// no backend, no rule and no address of ours is in it.
func hint(status int) string {
	switch status {
	case 400:
		return "the request is malformed or did not arrive whole"
	case 401:
		return "a name and a password are needed here"
	case 403:
		return "this site is not open to your address"
	case 404:
		return "there is nothing here"
	case 408:
		return "the request did not arrive in time"
	case 413:
		return "the request is larger than this site takes"
	case 429:
		return "too many requests from your network; try again later"
	case 431:
		return "the request's header is larger than this site takes"
	case 502:
		return "the server behind this site cannot be reached; try again in a minute"
	case 503:
		return "this site cannot take you in at the moment; try again in a minute"
	case 504:
		return "the server behind this site did not answer in time; try again in a minute"
	}
	return ""
}

// page is what exchange shows for an error of ours.
func (c *call) page(r *message.Request, status int) exchange.Page {
	return c.errorPage(r, status, hint(status))
}

// refuse answers an error with a reason. It may have the client's own bytes in
// it.
func (c *call) refuse(r *message.Request, status int, why string) exchange.Decision {
	return exchange.Decision{Status: status, Page: c.errorPage(r, status, why)}
}

// errorPage is the operator's page for a status, or our own: HTML for who asks
// for it, as browsers do, else a line of text.
func (c *call) errorPage(r *message.Request, status int, why string) exchange.Page {
	var pages map[int]exchange.Page
	switch {
	case c.part != nil:
		pages = c.part.ErrorPages
	case c.site != nil:
		pages = c.site.ErrorPages
	}
	if page, ok := pages[status]; ok {
		return page
	}
	title := message.StatusText(status)
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		if why != "" {
			title += ": " + why
		}
		return exchange.Page{Text: title + "\n"}
	}
	return exchange.Page{Type: "text/html; charset=utf-8", Text: fmt.Sprintf(errorHTML, status, title, title, html.EscapeString(why))}
}

const errorHTML = `<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>%d %s</title>
<style>body{font:1.1em/1.5 sans-serif;max-width:34em;margin:15vh auto;padding:0 1em;color:#333;background:#fff}</style>
<h1>%s</h1>
<p>%s</p>
</html>
`
