package proxy

import (
	"fmt"

	"genkan/proxy/http1"
	"genkan/proxy/message"
)

// headerSize is how much a request's target and fields are, in bytes as
// HTTP/1 would spell them.
func headerSize(r *message.Request) int {
	n := len(r.Target)
	for i := range r.Header {
		n += len(r.Header[i].Name) + len(r.Header[i].Value) + len(": \r\n")
	}
	return n
}

// A boundedBody is content of unknown length that fails once it is too long.
type boundedBody struct {
	message.RequestBody
	left int64
}

// Read returns content, or an error that is answered with 413.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.RequestBody.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, &http1.RequestError{Status: 413, Msg: fmt.Sprintf("content is %d bytes too long, and goes on", -b.left)}
	}
	return n, err
}
