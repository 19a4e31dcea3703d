package config

import (
	"bytes"
	"path/filepath"
)

// A Sketch is what a process has to know of a configuration before it reads it for good.
type Sketch struct {
	StateDir string
	Storage  string   // of certificates, where it is not in StateDir
	User     string   // as Plan.User
	Logs     []string // files, as absolute paths
}

// SketchOf reads what a Sketch needs, and no more: that is far faster than Load. What is wrong is for Load to tell.
func SketchOf(file string) Sketch {
	r := newReport()
	c := &Config{File: file}
	all, partial := fields(), partialFields()
	d := &decoder{report: r, top: keysOf(all), partial: keysOf(partial)}
	if root := r.tree(file); root != nil {
		decode(d, root, all, c)
	}
	for _, name := range r.includes(c) {
		// Customers by the thousand, and hardly one with a log of its own.
		if src, err := readBounded(name); err != nil || !bytes.Contains(src, []byte("access_log")) {
			continue
		}
		if root := r.tree(name); root != nil {
			d.mainOnly(root, file)
			decode(&decoder{report: r}, root, partial, c)
		}
	}
	s := Sketch{StateDir: stateDir(c), User: c.User.S}
	if c.ACME != nil {
		s.Storage = relative(c.ACME.Storage)
	}
	logs := []Text{c.Log.Access}
	for i := range c.Sites {
		logs = append(logs, c.Sites[i].AccessLog.Access)
	}
	for i := range c.Forwards {
		logs = append(logs, c.Forwards[i].AccessLog.Access)
	}
	for _, l := range logs {
		if filepath.IsAbs(l.S) {
			s.Logs = append(s.Logs, l.S)
		}
	}
	return s
}

// stateDir is state_dir or its default.
func stateDir(c *Config) string {
	if c.StateDir.S == "" {
		return "/var/lib/genkan"
	}
	return c.StateDir.S
}
