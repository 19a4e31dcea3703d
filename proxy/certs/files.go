package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Pair is a certificate in files that somebody else renews: it is read again
// when they change. The zero Pair has no certificate.
type Pair struct {
	CertFile, KeyFile string

	cert atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // guards the fields below
	seen string     // stamp of the files that were last read
	err  error      // why they are not what is served; nil: they are
}

// NewPair reads the files. A certificate that is over is no reason to serve
// none of the others: Expired tells of it.
func NewPair(certFile, keyFile string) (*Pair, error) {
	p := &Pair{CertFile: certFile, KeyFile: keyFile, seen: stamp(certFile, keyFile)}
	cert, err := read(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	p.cert.Store(cert)
	return p, nil
}

// Certificate is the last good one.
func (p *Pair) Certificate() *tls.Certificate { return p.cert.Load() }

// Expired says that every client refuses the certificate, and why; nil where
// none has to.
func (p *Pair) Expired() error { return timely(p.CertFile, p.Certificate()) }

// Status tells how the pair stands.
func (p *Pair) Status() Status {
	cert := p.Certificate()
	s := Status{Source: "file", File: p.CertFile, Issuer: cert.Leaf.Issuer.CommonName, NotBefore: cert.Leaf.NotBefore, NotAfter: cert.Leaf.NotAfter}
	switch {
	case len(cert.Leaf.DNSNames) > 0:
		s.Name = cert.Leaf.DNSNames[0]
	case len(cert.Leaf.IPAddresses) > 0:
		s.Name = cert.Leaf.IPAddresses[0].String()
	default:
		s.Name = cert.Leaf.Subject.CommonName
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return s
}

// look reads the files again if they are others than before. What does not
// hold, such as a certificate whose key is still to be written, leaves the last
// good one, and is tried again with the next change.
func (p *Pair) look(log *slog.Logger) {
	now := stamp(p.CertFile, p.KeyFile)
	p.mu.Lock()
	defer p.mu.Unlock()
	if now == p.seen {
		return
	}
	p.seen = now
	cert, err := read(p.CertFile, p.KeyFile)
	if err == nil {
		err = timely(p.CertFile, cert)
	}
	if p.err = err; err != nil {
		log.Error("certificate not changed, the last good one stays", "cause", err)
		return
	}
	p.cert.Store(cert)
	log.Info("certificate changed", "file", p.CertFile, "expires", cert.Leaf.NotAfter)
}

// stamp tells files apart by what the kernel knows of them. A link is followed:
// renewing tools swap it.
func stamp(names ...string) string {
	text := ""
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			text += " -"
			continue
		}
		inode := uint64(0)
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = s.Ino
		}
		text += fmt.Sprintf(" %d/%d/%d", inode, info.Size(), info.ModTime().UnixNano())
	}
	return text
}

// lookEvery is how often files are looked at. It costs two stats for each; to
// be told of changes would not do on network file systems and with links.
const lookEvery = 2 * time.Second

// Follow keeps the pairs that now gives up to date until ctx ends.
func Follow(ctx context.Context, log *slog.Logger, now func() []*Pair) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, p := range now() {
				p.look(log)
			}
		}
	}
}
