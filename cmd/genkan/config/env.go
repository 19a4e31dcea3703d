package config

import (
	"strings"

	"genkan/acl"
)

// environments says, for each file, what its rules may refer to: the lists of the main file and its own.
func (k *checker) environments() map[string]acl.Env {
	base := acl.Env{Lists: map[string]*acl.List{}, SixRD: k.sixRD()}
	if k.c.Embedded == "off" {
		base.Embedded = acl.EmbeddedOff
	}
	for _, p := range k.c.NAT64 {
		if _, err := acl.ParseNAT64(p.String()); p.IsValid() && err != nil {
			k.mistake(p.Pos, "nat64 %v", err)
			continue
		}
		base.NAT64 = append(base.NAT64, p.Prefix)
	}
	envs := map[string]acl.Env{k.c.File: base}
	for file := range k.files {
		if _, done := envs[file]; !done {
			envs[file] = base
		}
	}
	return envs
}

// sixRD is the domain of [tunnel], as rules and explanations read it.
func (k *checker) sixRD() acl.SixRD {
	t := k.c.Tunnel
	if t == nil || t.Kind == "6in4" || !t.Prefix.IsValid() {
		return acl.SixRD{}
	}
	common := t.Local
	if !common.IsValid() && len(t.Relays) > 0 {
		common = t.Relays[0] // it shares the domain's bits, where there are any
	}
	return acl.SixRD{Prefix: t.Prefix.Prefix, IPv4MaskLen: t.IPv4MaskLen, Common: common}
}

// oneLine puts joined errors on one line, without the names of the packages that they come from.
func oneLine(err error) string {
	return strings.NewReplacer("\n", "; ", "tunnel: ", "", "sixrd: ", "").Replace(err.Error())
}
