package proxy

import (
	"errors"
	"fmt"
	"maps"
	"sync"
)

// How the operator may steer a backend at run time.
const (
	BackendActive   = "active"
	BackendDraining = "drain"   // gets no new connections or requests; what is open goes on
	BackendDisabled = "disable" // the same, is not checked, and what forwards have open to it is cut
)

// MaxWeight is the greatest weight of a backend.
const MaxWeight = 256

// A Steering is what the operator wants of a backend. A reload keeps it.
type Steering struct {
	State  string `json:"state"`  // BackendActive, BackendDraining or BackendDisabled
	Weight int    `json:"weight"` // of the clients it gets, as against the others'; 1 to MaxWeight, 1 unless told
}

func (s Steering) check() error {
	switch s.State {
	case BackendActive, BackendDraining, BackendDisabled:
	default:
		return fmt.Errorf("state %q of a backend; write %q, %q or %q", s.State, BackendActive, BackendDraining, BackendDisabled)
	}
	if s.Weight < 1 || s.Weight > MaxWeight {
		return fmt.Errorf("weight %d of a backend; write 1 to %d, or drain it", s.Weight, MaxWeight)
	}
	return nil
}

// A BackendID names a backend of a site, route or forward.
type BackendID struct {
	Kind    string `json:"kind"` // "site", "route" or "forward"
	Name    string `json:"name"`
	Backend string `json:"backend"` // as Stats spells it
}

// errNoSuchBackend is Steer's for a backend that is not there.
var errNoSuchBackend = errors.New("no such backend")

// A steering is what the operator wants of the backends. The zero value wants
// nothing.
type steering struct {
	mu   sync.Mutex // guards want
	want map[BackendID]Steering
}

// restore gives a new group what was wanted of its members before.
func (s *steering) restore(g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range g.members {
		if want, ok := s.want[g.id(m)]; ok {
			m.steered.Store(&want)
		}
	}
}

// keep forgets what was wanted of backends that a state does not have.
func (s *steering) keep(st *state) {
	there := map[BackendID]bool{}
	for _, g := range st.groups {
		for _, m := range g.members {
			there[g.id(m)] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.want, func(id BackendID, _ Steering) bool { return !there[id] })
}

func (g *group) id(m *member) BackendID { return BackendID{g.config.key, g.config.name, m.text} }

// Steer has a backend steered from now on, and tells how many connections it
// cut.
func (s *Server) Steer(id BackendID, want Steering) (cut int, err error) {
	if err := want.check(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var members []*member
	for _, g := range s.state.Load().groups {
		for _, m := range g.members {
			if g.id(m) == id {
				members = append(members, m)
			}
		}
	}
	if members == nil {
		return 0, fmt.Errorf("%s %q, backend %q: %w", id.Kind, id.Name, id.Backend, errNoSuchBackend)
	}
	s.steering.set(id, want)
	for _, m := range members {
		m.steered.Store(&want)
		if want.State == BackendDisabled {
			cut += s.conns.cutStreams(func(st *stream) bool { return st.backend.Load() == m })
		}
	}
	s.log.Info("backend steered", id.Kind, id.Name, "backend", id.Backend, "state", want.State, "weight", want.Weight, "cut", cut)
	return cut, nil
}

func (s *steering) set(id BackendID, want Steering) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want == nil {
		s.want = map[BackendID]Steering{}
	}
	s.want[id] = want
}

// Steered gives what is wanted of backends, where it is not the usual.
func (s *Server) Steered() map[BackendID]Steering {
	s.steering.mu.Lock()
	defer s.steering.mu.Unlock()
	all := maps.Clone(s.steering.want)
	maps.DeleteFunc(all, func(_ BackendID, w Steering) bool { return w == Steering{BackendActive, 1} })
	return all
}

func (m *member) weight() int64 { return int64(m.steered.Load().Weight) }

// share is the part of the turns that m gets.
func (m *member) share() int64 {
	if s := m.steered.Load(); s.State == BackendActive {
		return int64(s.Weight)
	}
	return 0
}

// turn gives the member whose turn it is. In as many turns as the weights are
// together each has as many as its weight, and not all in a row: the steps from
// turn to turn are the golden part of the whole, or the next that meets all.
func (g *group) turn(n int) int {
	turn := int64(g.next.Add(1) - 1)
	total, same := int64(0), true
	for _, m := range g.members {
		w := m.share()
		total += w
		same = same && w == g.members[0].share()
	}
	if same {
		return int(turn % int64(n))
	}
	step := max(total*618/1000, 1)
	for gcd(step, total) != 1 {
		step++
	}
	at := turn % total * step % total
	for i, m := range g.members {
		if at -= m.share(); at < 0 {
			return i
		}
	}
	return 0 // a weight has changed meanwhile
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
