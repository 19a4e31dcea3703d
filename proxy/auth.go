package proxy

import (
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"time"

	"genkan/proxy/exchange"
	"genkan/proxy/htpasswd"
	"genkan/proxy/message"
)

// An Auth lets those in who give a name and its password (RFC 7617). The zero
// Auth lets nobody in.
type Auth struct {
	// Realm is what browsers call the place.
	Realm string
	// Users may come in. Nil: nobody.
	Users *htpasswd.Users
}

// hashing bounds the passwords that are hashed at once: each is milliseconds
// of CPU, which a stranger may ask for. It has the default of Server.
type hashing chan struct{}

func newHashing() hashing { return make(hashing, max(1, runtime.NumCPU()/2)) }

// hashWait is how long a request waits for its turn.
const hashWait = 2 * time.Second

// authenticate asks for a password where the part wants one. refused is true
// where d is to be answered.
func (c *call) authenticate(r *message.Request) (d exchange.Decision, refused bool) {
	auth := c.part.Auth
	if auth == nil {
		return d, false
	}
	name, password, ok := credentials(r.Header)
	if !ok {
		return c.challenge(auth), true
	}
	if auth.Users.Known(name, password) {
		c.user = name
		return d, false
	}
	right, turn := false, false
	check := func() {
		t := time.NewTimer(hashWait)
		defer t.Stop()
		select {
		case c.visit.server.hashing <- struct{}{}:
			right, turn = auth.Users.Check(name, password), true
			<-c.visit.server.hashing
		case <-t.C:
		}
	}
	if r.Loop != nil {
		r.Loop.Leave(check)
	} else {
		check()
	}
	switch {
	case !turn:
		d = exchange.Decision{Status: 503}
		d.Header.Add("Retry-After", "5")
		return d, true
	case !right:
		return c.challenge(auth), true
	}
	c.user = name
	return d, false
}

// challenge asks for a name and a password.
func (c *call) challenge(auth *Auth) exchange.Decision {
	d := exchange.Decision{Status: 401}
	d.Header.Add("WWW-Authenticate", fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", auth.Realm))
	return d
}

// credentials reads Authorization, which has to be there once.
func credentials(h message.Header) (name, password string, ok bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", "", false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	if !message.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	both, err := base64.StdEncoding.DecodeString(message.TrimBlank(text))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(both), ":")
}

// check refuses a realm that cannot stand in a header.
func (a *Auth) check() error {
	if a == nil {
		return nil
	}
	for i := range len(a.Realm) {
		if c := a.Realm[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return fmt.Errorf("realm %q: %q cannot stand in it; write letters, digits and spaces", a.Realm, a.Realm[i:i+1])
		}
	}
	return nil
}
