package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// siteAccess writes the rules and the password of a site. Those of "location /" stand in the place of the server's.
func (im *nginxImport) siteAccess(in scope) {
	if rules := im.rules(in); rules != nil {
		im.list("access", rules)
	}
	im.password(in)
}

// routeAccess writes those of a location, which are the server's where it has none itself.
func (im *nginxImport) routeAccess(l directive, in scope) {
	outer := append(scope{l.block}, in[1:]...)
	rules, site := im.rules(outer), im.rules(in)
	switch {
	case rules == nil && site != nil:
		im.list("access", []string{"allow all"})
	case !slices.Equal(rules, site):
		im.list("access", rules)
	}
	switch own := find(l.block, "auth_basic", "auth_basic_user_file"); {
	case own != nil && first(l.block, "auth_basic") == "off":
		if in.first("auth_basic") != "" {
			im.leave(own[0], "a route cannot take the site's password off; write basic_auth into the other routes alone")
		}
	case own != nil:
		im.password(outer)
	}
}

// rules are the gates and the allow and deny that hold in a block, as access; nil: none.
func (im *nginxImport) rules(in scope) (rules []string) {
	for _, d := range in.all("limit_req") {
		rules = append(rules, im.rate(d, in)...)
	}
	for _, d := range in.all("limit_conn") {
		rules = append(rules, im.conns(d, in)...)
	}
	gates := len(rules)
	for _, d := range in.all("allow", "deny") {
		switch {
		case len(d.args) != 1:
		case d.args[0] == "unix:":
			im.leave(d, "no address")
		default:
			rules = append(rules, d.name+" "+d.args[0])
		}
	}
	if len(rules) == 0 {
		return nil
	}
	if last := rules[len(rules)-1]; gates == len(rules) || last != "deny all" && last != "allow all" {
		rules = append(rules, "allow all") // what nginx does where no rule matches
	}
	return rules
}

// rate turns limit_req into a gate. In ten seconds, or a minute, nginx lets the rate pass, and the burst besides.
func (im *nginxImport) rate(d directive, in scope) []string {
	zone, burst := "", 0
	for _, a := range d.args {
		if name, ok := strings.CutPrefix(a, "zone="); ok {
			zone = name
		}
		if n, ok := strings.CutPrefix(a, "burst="); ok {
			burst, _ = strconv.Atoi(n) // 0 where nginx would not take it either
		}
	}
	for _, z := range in.all("limit_req_zone") {
		if len(z.args) < 3 || zoneOf(z.args[1]) != zone {
			continue
		}
		number, unit, _ := strings.Cut(strings.TrimPrefix(z.args[2], "rate="), "r/")
		n, err := strconv.Atoi(number)
		span := map[string]int{"s": 10, "m": 60}[unit]
		if err != nil || span == 0 || !ofClient(z.args[0]) {
			break
		}
		if unit == "s" {
			n *= span
		}
		return []string{fmt.Sprintf("limit %d/%ds", n+burst, span)}
	}
	im.leave(d, "no limit_req_zone of that name counts by the client's address; it refuses somebody, so look at it")
	return nil
}

// conns turns limit_conn into a gate.
func (im *nginxImport) conns(d directive, in scope) []string {
	if len(d.args) == 2 {
		for _, z := range in.all("limit_conn_zone") {
			if n, err := strconv.Atoi(d.args[1]); len(z.args) == 2 && zoneOf(z.args[1]) == d.args[0] && ofClient(z.args[0]) && err == nil {
				return []string{fmt.Sprintf("conns %d", n)}
			}
		}
	}
	im.leave(d, "no limit_conn_zone of that name counts by the client's address; it refuses somebody, so look at it")
	return nil
}

// zoneOf is the name in zone=NAME:SIZE.
func zoneOf(arg string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "zone="), ":")
	return name
}

// ofClient reports whether a key counts by the client's address.
func ofClient(key string) bool { return key == "$binary_remote_addr" || key == "$remote_addr" }

// password writes auth_basic.
func (im *nginxImport) password(in scope) {
	realm, file := in.first("auth_basic"), in.first("auth_basic_user_file")
	switch all := in.all("auth_basic"); {
	case realm == "" || realm == "off":
	case file == "" || strings.Contains(realm+file, "$"):
		im.leave(all[0], "no file of passwords that is known here; it refuses somebody, so look at it")
	default:
		fmt.Fprintf(&im.out, "basic_auth = { file = %q, realm = %q }\n", im.path(file), realm)
	}
}
