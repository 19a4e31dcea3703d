// Package store keeps certificates, keys and ACME accounts in a directory, for
// certmagic:
//
//	s, err := store.Open("/var/lib/genkan/certs")
//	config := certmagic.Config{Storage: s}
//
// A key "certificates/ca/www/www.crt" is the file of that path. A file is
// whole or not there: what is written goes to a file beside it, to the disk,
// and then by a rename in its place, so that neither a crash nor a full disk
// leaves half of one.
//
// Locks are the kernel's (flock), on empty files below locks/. The kernel takes
// them from a process that dies, however it dies, so there are no stale ones:
// what a lock file holds, how old it is, and what the clock says do not matter.
package store
