package acl

type Warning struct {
	Pos  Pos
	Text string
	Msg  string
}

func warn(p *Policy, env *Env) []Warning { return nil }

// Warnings returns what check should tell.
func (p *Policy) Warnings() []Warning { return p.warnings }
