// Package certstest is an ACME CA for tests: Let's Encrypt's pebble, from its Go
// module, and a DNS server that says what the test wants.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A Pebble is how one is to run.
type Pebble struct {
	Listen     netip.AddrPort // the CA
	Management netip.AddrPort // where its root is to be had
	HTTP, TLS  uint16         // ports that it asks names at
	DNS        string         // HOST:PORT, where it finds them
	EAB        [2]string      // an identifier and a MAC key that accounts must have; zero: none
	Validity   time.Duration  // of certificates; those of the profile "brief" last six seconds
}

// Build builds pebble into dir and gives the program.
func Build(dir string) (string, error) {
	program := filepath.Join(dir, "pebble")
	if out, err := exec.Command("go", "build", "-o", program, "github.com/letsencrypt/pebble/v2/cmd/pebble").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build pebble: %w\n%s", err, out)
	}
	return program, nil
}

// Files writes what pebble needs into dir and gives its arguments, its
// environment, and the file with the root that its own TLS is checked by.
func (p Pebble) Files(t testing.TB, dir string) (args, env []string, root string) {
	t.Helper()
	root, key := filepath.Join(dir, "pebble.pem"), filepath.Join(dir, "pebble.key")
	p.identity(t, root, key)
	type profile struct {
		Description    string
		ValidityPeriod int
	}
	config := map[string]any{"pebble": map[string]any{
		"listenAddress": p.Listen.String(), "managementListenAddress": p.Management.String(),
		"certificate": root, "privateKey": key, "httpPort": p.HTTP, "tlsPort": p.TLS,
		"retryAfter": map[string]int{"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": map[string]profile{"default": {"d", int(p.Validity / time.Second)}, "brief": {"b", 6}},
	}}
	if p.EAB != [2]string{} {
		config["pebble"].(map[string]any)["externalAccountBindingRequired"] = true
		config["pebble"].(map[string]any)["externalAccountMACKeys"] = map[string]string{p.EAB[0]: p.EAB[1]}
	}
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", "PEBBLE_WFE_NONCEREJECT=0")
	return []string{"-strict", "-config", file, "-dnsserver", p.DNS}, env, root
}

// identity makes pebble's own certificate, for its address.
func (p Pebble) identity(t testing.TB, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{p.Listen.Addr().AsSlice()}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{certFile, "CERTIFICATE", der}, {keyFile, "EC PRIVATE KEY", keyDER}} {
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Root asks a running pebble, by client, for the root of what it issues.
func (p Pebble) Root(client *http.Client) (*x509.Certificate, []byte, error) {
	answer, err := client.Get("https://" + p.Management.String() + "/roots/0")
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, fmt.Errorf("pebble's root: %.100q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return cert, text, err
}
