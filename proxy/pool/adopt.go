package pool

import (
	"slices"
	"time"
)

// adopt makes the stored mappings the pool's. Addresses that were reserved and
// have no mapping may have had a client whose mapping was lost in a crash:
// they count as used until now, by nobody.
func (p *Pool) adopt(entries []*entry) {
	slices.SortFunc(entries, func(a, b *entry) int { return a.last.Compare(b.last) })
	for _, e := range entries {
		if p.byClient[e.key] == nil && p.byIndex[e.index] == nil {
			p.insert(e)
		}
	}
	p.next = min(int(p.store.reserved.Load()), p.size)
	for index := range p.byIndex {
		p.next = max(p.next, index+1)
	}
	now := time.Now()
	for index := range p.next {
		if p.byIndex[index] == nil {
			p.spare = append(p.spare, spare{index, now})
		}
	}
}
