package message

// Bytes of RFC 9110 §5.6.2 (tchar), as a set.
const tchars = "!#$%&'*+-.^_`|~0123456789" +
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// tokenBytes has bit c set where c is a tchar.
var tokenBytes = set(tchars)

// set makes a 256-bit set of the bytes of s.
func set(s string) (bits [4]uint64) {
	for i := range len(s) {
		bits[s[i]>>6] |= 1 << (s[i] & 63)
	}
	return bits
}

// IsTokenByte reports whether c may stand in a token.
func IsTokenByte(c byte) bool { return tokenBytes[c>>6]&(1<<(c&63)) != 0 }

// IsToken reports whether s is a token: a method or a field name.
func IsToken(s string) bool {
	for i := range len(s) {
		if !IsTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// IsValue reports whether s may be a field value: no control byte but tab
// (RFC 9110 §5.5; CR, LF and NUL split or cut messages downstream, and DEL
// is refused as it has no meaning), no white space at either end.
func IsValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return s == "" || !isBlank(s[0]) && !isBlank(s[len(s)-1])
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// TrimBlank removes spaces and tabs (OWS, RFC 9110 §5.6.3) at both ends.
func TrimBlank(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}
