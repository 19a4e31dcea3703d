package proxy

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"

	"genkan/proxy/message"
)

// canonicalPattern gives a pattern of hosts or sni as tables compare it: in
// lower case, and in the form that clients send.
func canonicalPattern(pattern string) (string, error) {
	if pattern == "default" {
		return pattern, nil
	}
	name, isWild := strings.CutPrefix(pattern, "*.")
	name, err := aLabels(name)
	if err != nil {
		return "", fmt.Errorf("host %q: %w", pattern, err)
	}
	host, err := message.ParseAuthority(name)
	if err != nil || host.Port != 0 || host.Host == "" {
		return "", fmt.Errorf("host %q is not a name, \"*.NAME\" or \"default\"; write it without scheme, port and path", pattern)
	}
	if isWild {
		return "*." + host.Host, nil
	}
	return host.Host, nil
}

// aLabels spells an internationalised name as DNS and clients do (RFC 5891
// §4.4, with the mapping of UTS 46): "bücher.example" is "xn--bcher-kva.example".
// Names that say nothing of IDNA are left alone, as they may have an underscore.
func aLabels(name string) (string, error) {
	ascii := true
	for i := range len(name) {
		ascii = ascii && name[i] < 0x80
	}
	if ascii && !strings.Contains(strings.ToLower(name), "xn--") {
		return name, nil
	}
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(false), idna.CheckJoiners(true),
		idna.StrictDomainName(false), idna.Transitional(false), idna.VerifyDNSLength(true))
	trimmed := strings.TrimSuffix(name, ".")
	out, err := profile.ToASCII(trimmed)
	switch {
	case err != nil && ascii:
		return "", errors.New("a label that begins with \"xn--\" is no Punycode (RFC 3492); write the name in its own letters")
	case err != nil:
		return "", fmt.Errorf("no internationalised name (%s); write the form that DNS has, which begins with \"xn--\"", strings.TrimPrefix(err.Error(), "idna: "))
	}
	return out, nil
}
