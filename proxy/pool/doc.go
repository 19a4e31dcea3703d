// Package pool gives each client a private IPv4 address of its own, by which a
// server that speaks IPv4 only tells clients apart, limits and bans them.
//
//	store, err := pool.OpenStore("/var/lib/genkan/pool.db")
//	p, err := pool.Open(pool.Config{Name: "default", Prefix: prefix}, store)
//	lease, err := p.Lease(client) // dial from lease.Addr
//	defer lease.Release()
//	mapping, ok := p.Who(lease.Addr, time.Now())
//
// A customer counts as one client: an IPv6 /64, or an IPv4 address. The mapping
//
//   - is stable: a client has its address as long as the pool has room, over
//     restarts too;
//   - is one to one: never do two clients have one address at a time, and an
//     address goes to another client only after Quarantine without use, so
//     that no one inherits a ban;
//   - is bounded: an exhausted pool refuses new clients (ErrExhausted), and one
//     IPv6 /48 can take only Per48 addresses of it (ErrShare).
//
// After a crash no address is given to another client early: addresses are
// reserved on disk in blocks before they are used.
package pool
