package pipe

// A buffer is one read's worth of bytes.
type buffer struct{ bytes []byte }

func newBuffer(n int) *buffer { return &buffer{bytes: make([]byte, n)} }

// keep leaves rest, a part of the scratch buffer, with the direction h. The loop
// gets another scratch buffer: bytes are not copied.
func (l *loop) keep(h *half, rest []byte) {
	h.rest, h.buffer = rest, l.scratch
	if n := len(l.spare); n > 0 {
		l.scratch = l.spare[n-1]
		l.spare = l.spare[:n-1]
		return
	}
	l.scratch = newBuffer(l.engine.buffer)
}

// giveBack ends h's borrowing.
func (l *loop) giveBack(h *half) {
	if h.buffer != nil && len(l.spare) < maxPlain {
		l.spare = append(l.spare, h.buffer)
	}
	h.rest, h.buffer = nil, nil
}
