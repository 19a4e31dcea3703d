package pipe

import (
	"golang.org/x/sys/unix"

	"genkan/proxy/descriptors"
)

// pipeSize is asked for each pipe: so much may be under way in a direction.
const pipeSize = 1 << 20

// A pipePair is a kernel pipe, borrowed by a direction while it splices.
type pipePair struct {
	r, w int32
	n    int // bytes in it
}

// A pipePool is a loop's pipes.
type pipePool struct {
	limit  int
	made   int
	bounds descriptors.Bounds
	spare  []*pipePair
}

// take returns an empty pipe. Nil: there are none to be had now.
func (p *pipePool) take() *pipePair {
	if n := len(p.spare); n > 0 {
		pair := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return pair
	}
	if p.made >= p.limit {
		return nil
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil || p.bounds.Take(fds[:]...) != nil {
		return nil
	}
	// A user over his pipe-user-pages-soft keeps the size that he got.
	unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	p.made++
	return &pipePair{r: int32(fds[0]), w: int32(fds[1])}
}

// put takes a pipe back. One that still holds bytes of a dead stream is closed.
func (p *pipePool) put(pair *pipePair) {
	if pair.n == 0 {
		p.spare = append(p.spare, pair)
		return
	}
	p.drop(pair)
}

func (p *pipePool) drop(pair *pipePair) {
	closeFD(pair.r)
	closeFD(pair.w)
	p.made--
}

func (p *pipePool) close() {
	for _, pair := range p.spare {
		p.drop(pair)
	}
	p.spare = nil
}
