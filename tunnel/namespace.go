package tunnel

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A namespace is the network namespace that a tunnel belongs to: the one in
// which Up was called. Sockets opened later, by whichever goroutine, are opened
// there too.
type namespace struct {
	handle netns.NsHandle
	inode  uint64
}

// currentNamespace returns the calling thread's. The caller keeps the thread
// locked for as long as that matters to him.
func currentNamespace() (*namespace, error) {
	h, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("tunnel: network namespace: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(h), &st); err != nil {
		h.Close()
		return nil, fmt.Errorf("tunnel: network namespace: %w", err)
	}
	return &namespace{handle: h, inode: st.Ino}, nil
}

func (n *namespace) close() error { return n.handle.Close() }

// do runs f in the namespace.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if here, err := netns.Get(); err == nil {
		same := here.Equal(n.handle)
		here.Close()
		if same {
			return f()
		}
	}
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine, rather than
		// serving others in a namespace that they do not expect.
		runtime.LockOSThread()
		if err := netns.Set(n.handle); err != nil {
			result <- fmt.Errorf("tunnel: enter network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}
