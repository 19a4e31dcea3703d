package config

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"strings"

	"genkan/acl"
	"genkan/acl/list"
)

// environments says, for each file, what its rules may refer to: the lists of the main file and its own.
func (k *checker) environments() map[string]acl.Env {
	base := acl.Env{SixRD: k.sixRD(), Limits: k.limits}
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
	local := make(map[string]map[string]*acl.List) // by file: what stands in it
	for _, l := range k.c.Lists {
		file := l.Name.Pos.File
		if local[file] == nil {
			local[file] = make(map[string]*acl.List)
		}
		name := nameFrom(k.c.File, file, l.Name.S)
		one := k.list(l, name)
		local[file][l.Name.S], k.named[name] = one, one
	}
	envs := make(map[string]acl.Env)
	for file := range k.files {
		env := base
		if file != k.c.File && len(local[file]) > 0 {
			env.Lists = local[file]
			maps.Copy(env.Lists, local[k.c.File])
		} else {
			env.Lists = local[k.c.File]
		}
		envs[file] = env
	}
	return envs
}

// nameFrom is what a list of a file is called outside of it: by its name in the main file, else as "FILE:NAME", FILE seen
// from the main file's folder. How the main file was named on the command line is no part of it, as entries that are
// added at run time are kept under this name.
func nameFrom(main, file, name string) string {
	if file == main {
		return name
	}
	folder, err := filepath.Abs(filepath.Dir(main))
	path, perr := filepath.Abs(file)
	if rel, rerr := filepath.Rel(folder, path); err == nil && perr == nil && rerr == nil {
		file = rel
	}
	return file + ":" + name
}

// ListName finds a list of Named by its name, or by the name that it has with an absolute path.
func (p *Plan) ListName(name string) (string, bool) {
	if i := strings.LastIndexByte(name, ':'); p.Named[name] == nil && i > 0 && filepath.IsAbs(name) {
		name = nameFrom(p.File, name[:i], name[i+1:])
	}
	return name, p.Named[name] != nil
}

// list reads the entries of a list; those of a file are read with all files together, at the end.
func (k *checker) list(l List, name string) *acl.List {
	if from := cmp.Or(l.File, l.Dir); from.Given() {
		all := new(acl.List)
		k.sources = append(k.sources, source{list.Source{Name: name, Path: relative(from), List: all}, l.Name.S, from.Pos})
		return all
	}
	var set acl.SetBuilder
	for _, t := range l.Entries {
		r, err := ParseEntry(t.S)
		if err != nil {
			k.mistake(t.Pos, "list %s: %v", quote(l.Name.S), err)
			continue
		}
		set.Add(r)
	}
	return acl.NewList(set.Build())
}

// A source is a list in a file, and where the configuration says so.
type source struct {
	list.Source
	name string // as in its file
	pos  acl.Pos
}

// listFiles reads the files of all lists.
func (k *checker) listFiles() *list.Files {
	sources := make([]list.Source, len(k.sources))
	for i, s := range k.sources {
		sources[i] = s.Source
	}
	files, warnings, err := list.Open(sources, k.log)
	for _, w := range warnings {
		k.begin(w.Pos.File)
		k.warn(w.Pos, "%s: %s", quote(w.Text), w.Msg)
	}
	if err == nil {
		return files
	}
	for _, s := range k.sources { // again, one by one: which mistake is whose
		_, _, err := list.Load(s.Path)
		var lines *list.Mistakes
		switch {
		case errors.As(err, &lines):
			for _, l := range lines.Lines {
				k.begin(l.Pos.File)
				k.mistake(l.Pos, "%s: %s", quote(l.Text), l.Msg)
			}
			if more := lines.Total - len(lines.Lines); more > 0 {
				k.mistake(s.pos, "list %s: %d more lines are wrong", quote(s.name), more)
			}
		case err != nil:
			path := s.Path
			if one := new(fs.PathError); errors.As(err, &one) {
				path = one.Path // in a directory, which file it is
			}
			k.mistake(s.pos, "list %s: %s: %s", quote(s.name), quote(path), cause(err))
		}
	}
	return nil
}

// ParseEntry reads a prefix, an address or a range.
func ParseEntry(s string) (acl.Range, error) {
	if strings.Contains(s, "-") {
		return acl.ParseRange(s)
	}
	p, err := acl.ParsePrefix(s)
	return acl.RangeOf(p), err
}

// sixRD is the domain of [tunnel], as rules and explanations read it.
func (k *checker) sixRD() acl.SixRD {
	t := k.c.Tunnel
	switch {
	case t == nil || t.Kind == "6in4":
		return acl.SixRD{}
	case k.stands != nil && !t.IPv4Common.IsValid():
		return acl.SixRD{Prefix: acl.PrefixFrom(k.stands.Prefix), IPv4MaskLen: k.stands.IPv4MaskLen, Common: acl.AddrFrom(k.stands.Local)}
	case t.DHCP: // not known before the tunnel stands: the discard prefix (RFC 6666), where nobody is
		return acl.SixRD{Prefix: acl.PrefixFrom(netip.PrefixFrom(netip.AddrFrom16([16]byte{1}), 32))}
	case !t.Prefix.IsValid():
		return acl.SixRD{}
	}
	common := t.Local
	if !common.IsValid() && len(t.Relays) > 0 {
		common = t.Relays[0] // it shares the domain's bits, where there are any
	}
	if t.IPv4Common.IsValid() {
		common = acl.AddrFrom(t.IPv4Common.Netip().Addr())
	}
	return acl.SixRD{Prefix: t.Prefix.Prefix, IPv4MaskLen: t.IPv4MaskLen, Common: common}
}

// oneLine puts joined errors on one line, without the names of the packages that they come from.
func oneLine(err error) string {
	return strings.NewReplacer("\n", "; ", "tunnel: ", "", "sixrd: ", "").Replace(err.Error())
}
