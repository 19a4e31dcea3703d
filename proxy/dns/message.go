package dns

import "encoding/binary"

const (
	// PathLimit is the size of an answer that no path of IPv6 fragments: the
	// least MTU of 1280 bytes (RFC 8200 §5) less the headers of IPv6 and UDP.
	PathLimit = 1232
	// NoLimit is more than any datagram has.
	NoLimit = 1<<16 - 1

	headerLen  = 12  // RFC 1035 §4.1.1
	plainLimit = 512 // RFC 1035 §2.3.4: without EDNS
	fixedLen   = 10  // type, class, TTL and RDLENGTH of a record, §4.1.3

	typeSIG  = 24 // RFC 2931: SIG(0) where it covers type 0
	typeOPT  = 41 // RFC 6891 §6.1.1
	typeTSIG = 250
)

// parts are where a message has what matters here. The zero parts are of no
// message.
type parts struct {
	question int  // where the question section ends
	opt, end int  // the OPT record from its owner on; 0: none
	signed   bool // by TSIG or SIG(0)
	several  bool // OPT records: an error (RFC 6891 §6.1.1)
}

// dissect walks all records of a message. False: it is malformed, and no more
// of the parts is filled in than was seen.
func dissect(msg []byte) (parts, bool) {
	var p parts
	if len(msg) < headerLen {
		return p, false
	}
	at := headerLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		at = skipName(msg, at)
		if at < 0 || len(msg)-at < 4 {
			return p, false
		}
		at += 4 // type and class
	}
	p.question = at
	additional := int(binary.BigEndian.Uint16(msg[10:]))
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + additional
	for left := records; left > 0; left-- {
		from := at
		at = skipName(msg, at)
		if at < 0 || len(msg)-at < fixedLen {
			return p, false
		}
		kind, data := binary.BigEndian.Uint16(msg[at:]), at+fixedLen
		at = data + int(binary.BigEndian.Uint16(msg[data-2:]))
		if at > len(msg) {
			return p, false
		}
		if left > additional {
			continue
		}
		switch {
		case kind == typeOPT && msg[from] == 0: // the owner is the root, not a pointer
			p.several = p.opt > 0
			p.opt, p.end = from, at
		case kind == typeTSIG, kind == typeSIG && at-data >= 2 && msg[data] == 0 && msg[data+1] == 0:
			p.signed = true
		}
	}
	return p, true
}

// skipName gives where the name at at ends, -1 where it is malformed.
// RFC 1035 §4.1.4: a pointer ends a name.
func skipName(msg []byte, at int) int {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1
		case n >= 0xc0:
			if at+2 > len(msg) {
				return -1
			}
			return at + 2
		case n >= 0x40:
			return -1
		default:
			at += 1 + n
		}
	}
	return -1
}

// IsAnswer tells whether a message says that it is an answer (QR, RFC 1035 §4.1.1).
func IsAnswer(msg []byte) bool { return len(msg) >= headerLen && msg[2]&0x80 != 0 }
