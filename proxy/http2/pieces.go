package http2

import (
	"encoding/binary"
	"io"

	h2 "golang.org/x/net/http2"
)

// morePieces is how many CONTINUATION frames a header block may have beyond
// those that its length asks for. Honest clients send none, or full ones.
const morePieces = 16

// A pieces is what the Framer reads from: it ends a connection whose header
// block does not end. The Framer bounds what is in a block, and goes on with
// frames that have nothing in them (CVE-2024-27316), or a byte, for which what
// came before is parsed again.
type pieces struct {
	r    io.Reader
	max  int
	n    int // CONTINUATION frames, one behind the other
	head [frameHeader]byte
	have int // bytes of head
	left int // bytes to come of the frame
}

// Read implements io.Reader.
func (p *pieces) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	for b = b[:n]; len(b) > 0; {
		if p.left > 0 {
			skip := min(p.left, len(b))
			p.left, b = p.left-skip, b[skip:]
			continue
		}
		took := copy(p.head[p.have:], b)
		p.have, b = p.have+took, b[took:]
		if p.have == frameHeader && p.begin() > p.max {
			return 0, fault(h2.ErrCodeEnhanceYourCalm, "header block of more than %d frames", p.max)
		}
	}
	return n, err
}

// begin takes note of the frame whose header is there, and gives the length of
// the row of CONTINUATION frames that it is in.
func (p *pieces) begin() int {
	p.have, p.left = 0, int(binary.BigEndian.Uint32(p.head[:])>>8)
	if p.n++; h2.FrameType(p.head[3]) != h2.FrameContinuation {
		p.n = 0
	}
	return p.n
}
