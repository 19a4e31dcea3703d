package http2

import (
	"time"

	"genkan/proxy/message"
)

// What a client may do without getting anywhere. Honest clients come nowhere
// near: browsers send a few dozen control frames a second and cancel a
// handful of requests.
const controlWindow = time.Second // of MaxControl

// An abuse counts what costs us and brings the client nothing: control
// frames that answer no data of ours (CVE-2019-9512, -9515, -9518), and
// streams that the client resets, or makes us reset. It belongs to the
// goroutine that reads frames.
type abuse struct {
	maxControl int
	aborts     message.Aborts

	control      int
	controlSince time.Time
}

// noteControl counts a frame that carries neither a request nor content, and
// reports whether it was one too many.
func (a *abuse) noteControl(now time.Time) bool {
	if now.Sub(a.controlSince) > controlWindow {
		a.control, a.controlSince = 0, now
	}
	a.control++
	return a.control > a.maxControl
}

// excuse takes control frames back that answer n data frames of ours: a
// client confirms them with updates of two windows.
func (a *abuse) excuse(n int) { a.control = max(a.control-2*n, 0) }
