package dns

import "encoding/binary"

// Clamp lowers the size of UDP answers that a query offers to take (RFC 6891
// §6.2.3) to at most most bytes, in place. It gives how large the answer may
// be: 512 without EDNS, NoLimit where query is signed or is no DNS query, and
// then is not changed.
func Clamp(query []byte, most uint16) (limit int) {
	if IsAnswer(query) {
		return NoLimit
	}
	p, ok := dissect(query)
	switch {
	case !ok || p.signed || p.several:
		return NoLimit
	case p.opt == 0:
		return plainLimit
	}
	// The class of an OPT record is the size; its owner is one byte.
	size := query[p.opt+3 : p.opt+5]
	if binary.BigEndian.Uint16(size) > most {
		binary.BigEndian.PutUint16(size, most)
	}
	return max(plainLimit, int(binary.BigEndian.Uint16(size)))
}

// Fit gives an answer of at most limit bytes: a longer one becomes, in place,
// its header with TC=1 (RFC 1035 §4.1.1, RFC 2181 §9), its question and its
// OPT record. What is signed, or is no DNS answer, is given back as it is. A
// limit below 512 counts as 512.
func Fit(answer []byte, limit int) []byte {
	limit = max(limit, plainLimit)
	if len(answer) <= limit || !IsAnswer(answer) {
		return answer
	}
	p, ok := dissect(answer)
	if p.signed || p.question == 0 || p.question > limit {
		return answer
	}
	answer[2] |= 0x02
	clear(answer[6:headerLen])
	short := answer[:p.question]
	if !ok || p.opt == 0 || p.several {
		return short
	}
	opt := answer[p.opt:p.end]
	if len(short)+len(opt) > limit { // without its options
		opt = opt[:1+fixedLen]
		clear(opt[fixedLen-1:])
	}
	if len(short)+len(opt) > limit {
		return short
	}
	answer[headerLen-1] = 1
	return append(short, opt...)
}
