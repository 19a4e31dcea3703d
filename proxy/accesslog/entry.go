package accesslog

import (
	"time"

	"genkan/acl"
)

// An Entry is one request to a site, or one connection or UDP session of a
// forward. What is zero is not known or does not apply.
type Entry struct {
	Began  time.Time
	Lasted time.Duration // until the end of the answer, or of the connection
	Waited time.Duration // for the head of the backend's answer

	Site, Forward string // one of the two; neither: nobody's
	Client        acl.Addr
	Port          uint16   // the client's
	Peer          acl.Addr // the socket's other end, where it is not the client
	Tunnel        bool     // arrived through our own tunnel
	User          string   // who gave a password

	Network              string // of a forward: "tcp" or "udp"
	TLS                  bool
	Proto                string // "HTTP/1.1" …
	Method, Host, Target string
	Referer, Agent       string
	Status               int   // that the client was sent
	Sent, Received       int64 // bytes of content to the client, from the client
	Allowed              bool
	Rule, Place          string // that decided, and where it is written
	Backend              string
	Pool                 acl.Addr // the client's address in a pool
	Cause                string   // of a failure, or of the end of a connection
}

// family is "ipv4" or "ipv6".
func (e *Entry) family() string {
	if e.Client.Is4() {
		return "ipv4"
	}
	return "ipv6"
}
