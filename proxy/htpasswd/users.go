package htpasswd

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

// Users are names with the hashes of their passwords. The zero Users, and nil,
// know nobody. They are safe for concurrent use.
type Users struct {
	hashes map[string]string
	dummy  string // the hash that a stranger's password is compared with

	key []byte // of known

	mu    sync.Mutex        // guards known
	known map[string][]byte // by name: a keyed sum of the password that was right
}

// maxUsers bounds one file.
const maxUsers = 100_000

// Parse reads a file. The error joins all faults, each with its line.
func Parse(src string) (*Users, error) {
	u := &Users{hashes: map[string]string{}, known: map[string][]byte{}, key: make([]byte, 32)}
	rand.Read(u.key)
	var faults []error
	line := 0
	for text := range strings.Lines(src) {
		line++
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(text, ":")
		if !ok || name == "" {
			faults = append(faults, fmt.Errorf("line %d: want NAME:HASH, as htpasswd -B writes it", line))
			continue
		}
		if err := checkHash(hash); err != nil {
			faults = append(faults, fmt.Errorf("line %d: %q: %w", line, name, err))
			continue
		}
		if u.hashes[name] != "" {
			faults = append(faults, fmt.Errorf("line %d: %q is given twice; keep one", line, name))
			continue
		}
		u.hashes[name] = hash
		u.dummy = hash
	}
	switch {
	case len(faults) == 0 && len(u.hashes) == 0:
		return nil, errors.New("nobody is in it; write a line by htpasswd -B")
	case len(u.hashes) > maxUsers:
		return nil, fmt.Errorf("%d names; at most %d are possible", len(u.hashes), maxUsers)
	}
	return u, errors.Join(faults...)
}

// maxCost bounds what one attempt may cost: bcrypt of cost 14 takes a second.
const maxCost = 14

func checkHash(hash string) error {
	if strings.HasPrefix(hash, "$apr1$") {
		parts := strings.Split(hash, "$")
		if len(parts) != 4 || len(parts[2]) == 0 || len(parts[2]) > 8 || len(parts[3]) != 22 {
			return errors.New("the hash is no apr1; make it anew by htpasswd -B")
		}
		return nil
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil:
		return errors.New("the hash is neither bcrypt nor apr1; make it anew by htpasswd -B, or genkan hash")
	case cost > maxCost:
		return fmt.Errorf("bcrypt of cost %d takes seconds each time; make it anew with at most %d", cost, maxCost)
	}
	return nil
}

// Known reports whether this name was right with this password before, which
// costs next to nothing.
func (u *Users) Known(name, password string) bool {
	if u == nil {
		return false
	}
	u.mu.Lock()
	sum := u.known[name]
	u.mu.Unlock()
	return hmac.Equal(sum, u.sum(name, password)) && sum != nil
}

func (u *Users) sum(name, password string) []byte {
	m := hmac.New(sha256.New, u.key)
	fmt.Fprintf(m, "%d:%s%s", len(name), name, password)
	return m.Sum(nil)
}

// Check reports whether a name has this password. It costs a hash, milliseconds
// of CPU, whether or not the name is there.
func (u *Users) Check(name, password string) bool {
	if u == nil || len(u.hashes) == 0 || !utf8.ValidString(name) {
		return false
	}
	hash, there := u.hashes[name]
	if !there {
		hash = u.dummy
	}
	if right := compare(hash, password); !right || !there {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known[name] = u.sum(name, password)
	return true
}

// compare compares in a time that does not depend on where they differ.
func compare(hash, password string) bool {
	if rest, ok := strings.CutPrefix(hash, "$apr1$"); ok {
		salt, _, _ := strings.Cut(rest, "$")
		return subtle.ConstantTimeCompare([]byte(apr1(password, salt)), []byte(hash)) == 1
	}
	// bcrypt reads 72 bytes; htpasswd cuts the rest off.
	return bcrypt.CompareHashAndPassword([]byte(hash), []byte(password[:min(len(password), 72)])) == nil
}

// Cost is of the hashes that Hash makes: about 50 ms of CPU.
const Cost = 10

// Hash makes the hash of a password, as htpasswd -B does.
func Hash(password string) (string, error) {
	if password == "" || len(password) > 72 {
		return "", fmt.Errorf("a password of %d bytes; write 1 to 72", len(password))
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), Cost)
	// htpasswd's own spelling of the same algorithm.
	return strings.Replace(string(hash), "$2a$", "$2y$", 1), err
}
