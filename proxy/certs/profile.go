package certs

import (
	"crypto/tls"
	"slices"

	"github.com/mholt/acmez/v3"
)

// A Profile is one of Mozilla's sets of TLS parameters (version 5.7). The zero
// Profile is Intermediate.
type Profile uint8

const (
	Intermediate Profile = iota // TLS 1.3 and 1.2, the latter with ephemeral keys and authenticated encryption only
	Old                         // also TLS 1.0 and 1.1, and what Windows XP's and Android 2's clients can do
)

// intermediate are the cipher suites of TLS 1.2; those of TLS 1.3 are not for
// us to choose.
func intermediate() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// old are the further ones of Old, but for those that Go does not have (DHE,
// AES-256 with SHA-256).
func old() []uint16 {
	return append(intermediate(),
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
	)
}

// A Finder finds what a client is to be shown, by its ClientHello.
type Finder interface {
	// Certificate finds the certificate.
	Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Profile finds the parameters for the name that the client asks for.
	Profile(*tls.ClientHelloInfo) Profile
	// Challenge gives the certificate that answers a CA which is asking for
	// a name by TLS-ALPN-01; false where no order is on its way.
	Challenge(name string) (*tls.Certificate, bool)
}

// Config is TLS of a listener. protos are offered by ALPN, the preferred first.
// After the handshake IsChallenge tells a CA from a client.
func Config(find Finder, protos ...string) *tls.Config {
	base := of(Intermediate, find, protos)
	ancient := of(Old, find, protos)
	// RFC 9113 §9.2: HTTP/2 wants TLS 1.2.
	veteran := of(Old, find, slices.DeleteFunc(slices.Clone(protos), func(p string) bool { return p == "h2" }))
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if wantsChallenge(hello) {
			return challengeConfig(find), nil
		}
		if find.Profile(hello) == Intermediate {
			return nil, nil
		}
		if slices.Contains(hello.SupportedVersions, tls.VersionTLS12) || slices.Contains(hello.SupportedVersions, tls.VersionTLS13) {
			return ancient, nil
		}
		return veteran, nil
	}
	return base
}

func of(p Profile, find Finder, protos []string) *tls.Config {
	c := &tls.Config{
		GetCertificate: find.Certificate,
		NextProtos:     protos,
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   intermediate(),
	}
	if p == Old {
		c.MinVersion, c.CipherSuites = tls.VersionTLS10, old()
	}
	return c
}

// wantsChallenge tells a CA that validates a name (RFC 8737 §3: the one ALPN
// protocol, and the name in SNI).
func wantsChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmez.ACMETLS1Protocol && hello.ServerName != ""
}

// challengeConfig answers a CA, or nobody: without an order on its way there
// is no certificate, and the handshake fails.
func challengeConfig(find Finder) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{acmez.ACMETLS1Protocol},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, ok := find.Challenge(hello.ServerName)
			if !ok {
				return nil, errNoOrder
			}
			return cert, nil
		},
	}
}

// IsChallenge tells that a handshake was a CA's. The connection has served its
// end: nothing else may be said on it (RFC 8737 §3).
func IsChallenge(cs tls.ConnectionState) bool {
	return cs.NegotiatedProtocol == acmez.ACMETLS1Protocol
}
