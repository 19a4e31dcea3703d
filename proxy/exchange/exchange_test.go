package exchange

import (
	"testing"

	"genkan/proxy/message"
	"genkan/proxy/pressure"
)

// A counting policy lets nobody anywhere.
type counting struct{ asked, done int }

func (c *counting) Decide(*message.Request) Decision        { c.asked++; return Decision{} }
func (c *counting) Done(*message.Request, Decision, Result) { c.done++ }

// Without memory a request is refused before anybody is asked about it.
func TestRefusedForMemory(t *testing.T) {
	bites := 0
	for level, want := range map[pressure.Level]int{pressure.Calm: 403, pressure.KeepLess: 403, pressure.Refuse: 503, pressure.TakeNoOne: 503} {
		policy := &counting{}
		h := &Handler{Policy: policy, Pressure: pressure.At(level), Bite: func(l message.Limit) {
			if l == message.LimitMemory {
				bites++
			}
		}}
		r := &message.Request{Method: "GET"}
		resp := h.Handle(r)
		h.Done(r, resp, message.Outcome{})
		refused := want == 503
		if resp.Status != want || resp.Close != refused || resp.Header.Has("Retry-After") != refused || (policy.asked == 0) != refused || policy.done != 1 {
			t.Errorf("%v: %+v, asked %d, done %d", level, resp, policy.asked, policy.done)
		}
	}
	if bites != 2 {
		t.Errorf("%d bites, want 2", bites)
	}
}
