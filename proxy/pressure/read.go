package pressure

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// controlGroup finds the group with the least memory of those that the program
// is in, by control groups of version 2. "" is none.
func controlGroup(root, self string) (dir string, limit uint64) {
	text, err := os.ReadFile(self)
	if err != nil {
		return "", 0
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for at := filepath.Clean(path); ; at = filepath.Dir(at) {
			// "max", and a file that is not there, are no limit.
			if n, err := number(filepath.Join(root, at, "memory.max")); err == nil && (limit == 0 || n < limit) {
				dir, limit = filepath.Join(root, at), n
			}
			if at == "/" || at == "." {
				return dir, limit
			}
		}
	}
	return "", 0
}

// charged is what a group has been charged, without what the kernel would give
// up first: the cache of files.
func charged(dir string) (uint64, error) {
	used, err := number(filepath.Join(dir, "memory.current"))
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, err
	}
	cache, err := field(string(text), "inactive_file ")
	if err != nil {
		return 0, err
	}
	return used - min(cache, used), nil
}

// resident is what this process has in memory that is its own: proc(5), statm.
func resident() (uint64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	var size, all, shared uint64
	if _, err := fmt.Sscan(string(text), &size, &all, &shared); err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %w", err)
	}
	return (all - min(shared, all)) * uint64(os.Getpagesize()), nil
}

// machine is the memory of this machine; 0: not known.
func machine() uint64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	kib, err := field(string(text), "MemTotal:")
	if err != nil {
		return 0
	}
	return kib << 10
}

// number reads a file with one number.
func number(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// field reads the number behind a name at the beginning of a line.
func field(text, name string) (uint64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strconv.ParseUint(strings.Fields(rest + " 0")[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("no %q among the kernel's figures", strings.TrimSpace(name))
}
