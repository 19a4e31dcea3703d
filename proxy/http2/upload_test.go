package http2

import (
	"errors"
	"io"
	"sync"
	"testing"

	"genkan/proxy/message"
)

// heldBody is a request's body whose Read waits for Stop.
type heldBody struct {
	stopped chan struct{}
	once    sync.Once
}

func (b *heldBody) Read([]byte) (int, error) {
	<-b.stopped
	return 0, io.ErrUnexpectedEOF
}

func (b *heldBody) Stop() bool {
	b.once.Do(func() { close(b.stopped) })
	return false
}

func (b *heldBody) Trailer() message.Header { return nil }
func (b *heldBody) Ready() int              { return 0 }

// TestUploadClosedLate: net/http may close the body after the exchange, when
// the request is another one's already, or nobody's.
func TestUploadClosedLate(t *testing.T) {
	for range 100 {
		x := &trip{r: &message.Request{Body: &heldBody{stopped: make(chan struct{})}}}
		u := &upload{x: x}
		var reads, closes sync.WaitGroup
		reads.Go(func() { u.Read(make([]byte, 1)) })
		closes.Go(func() { u.Close() })
		u.end()
		x.r.Body = nil // as message.Request.Reset does
		closes.Wait()
		reads.Wait()
		if n, err := u.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errStopped) {
			t.Fatalf("after the end: %d bytes, %v", n, err)
		}
		u.Close()
	}
}
