package lab

import "path/filepath"

// Abandon makes a named namespace as a lab of process pid would, and forgets it.
func Abandon(pid int, name string) (string, error) {
	n, err := newNamespace(name, path(pid, name))
	if err != nil {
		return "", err
	}
	file := filepath.Join(nameDir, n.Path)
	n.Path = "" // close leaves the name
	n.close()
	return file, nil
}
