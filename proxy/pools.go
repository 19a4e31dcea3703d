package proxy

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	"genkan/acl"
	"genkan/proxy/pool"
)

// poolSet is what sources other than our own address need: the pools that are
// open, with the routes that make their addresses this machine's, and the
// routing of transparent ones. Server.mu guards it.
type poolSet struct {
	log   *slog.Logger
	store *pool.Store
	open  map[string]*openPool

	transparent transparency
}

type openPool struct {
	*pool.Pool
	unroute func() error // removes the route, where we made it
}

// checkPools finds what is wrong with the pools of a Config, and with those
// who use them.
func (st *state) checkPools(errs *faults) {
	seen := map[string]Pool{}
	for _, p := range st.config.Pools {
		place := fmt.Sprintf("pool %q", p.Name)
		_, err := pool.Open(p.settings(nil), nil)
		errs.add("", err)
		for _, other := range seen {
			if other.Prefix.Overlaps(p.Prefix) {
				errs.add(place, fmt.Errorf("prefix %q overlaps pool %q (%q)", p.Prefix, other.Name, other.Prefix))
			}
		}
		if _, twice := seen[p.Name]; twice {
			errs.add(place, errors.New("the name is given twice"))
		}
		seen[p.Name] = p
	}
	for name, one := range st.sites {
		if one.Source == SourcePool || slices.Contains(one.Announce, "pseudo-ipv4") {
			_, ok := seen[one.Pool]
			errs.add(fmt.Sprintf("site %q", name), missingPool(one.Pool, ok))
		}
	}
	for name, one := range st.forwards {
		if one.Source == SourcePool || one.AnnounceAddress == "pool" {
			_, ok := seen[one.Pool]
			errs.add(fmt.Sprintf("forward %q", name), missingPool(one.Pool, ok))
		}
	}
}

func missingPool(name string, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("there is no pool %q; write [pool.%s] with prefix = \"100.64.0.0/16\"", name, name)
}

func (p Pool) settings(log *slog.Logger) pool.Config {
	return pool.Config{
		Name: p.Name, Prefix: p.Prefix.Netip(), Quarantine: p.Quarantine,
		Per48: p.Per48, Domain: p.Domain, Log: log,
	}
}

// prepare opens the pools that st wants, and gives st all of them. After an
// error, keep with the state before undoes what was made.
func (set *poolSet) prepare(st *state) error {
	var opened []string
	var errs []error
	for _, p := range st.config.Pools {
		old := set.open[p.Name]
		if old != nil && old.Prefix() == p.Prefix.Netip() {
			continue
		}
		if old != nil {
			errs = append(errs, fmt.Errorf("pool %q: the prefix of a pool cannot change while it is in use (%s); restart, or give the new one another name", p.Name, old.Prefix()))
			continue
		}
		if err := set.add(p, st.config.StateDir); err != nil {
			errs = append(errs, err)
			continue
		}
		opened = append(opened, p.Name)
	}
	if len(errs) > 0 {
		for _, name := range opened {
			errs = append(errs, set.drop(name))
		}
		return errors.Join(errs...)
	}
	st.pools = map[string]*pool.Pool{}
	for _, p := range st.config.Pools {
		st.pools[p.Name] = set.open[p.Name].Pool
		errs = append(errs, set.open[p.Name].Adjust(p.settings(set.log)))
	}
	errs = append(errs, set.transparent.prepare(st))
	return errors.Join(errs...)
}

func (set *poolSet) add(p Pool, dir string) error {
	if set.store == nil && dir != "" {
		store, err := pool.OpenStore(filepath.Join(dir, "pool.db"), set.log)
		if err != nil {
			return err
		}
		set.store = store
	}
	opened, err := pool.Open(p.settings(set.log), set.store)
	if err != nil {
		return err
	}
	unroute, err := routeLocally(p.Prefix.Netip())
	if err != nil {
		return fmt.Errorf("pool %q: %w", p.Name, err)
	}
	set.open[p.Name] = &openPool{opened, unroute}
	return nil
}

// keep closes the pools that st does not have, and undoes what it does not
// need.
func (set *poolSet) keep(st *state) error {
	var errs []error
	for name := range set.open {
		if st.pools[name] == nil {
			errs = append(errs, set.drop(name))
		}
	}
	errs = append(errs, set.transparent.keep(st))
	return errors.Join(errs...)
}

func (set *poolSet) drop(name string) error {
	p := set.open[name]
	delete(set.open, name)
	p.Close()
	if err := p.unroute(); err != nil {
		return fmt.Errorf("pool %q: %w", name, err)
	}
	return nil
}

// close closes all pools and the store.
func (set *poolSet) close() error {
	err := set.keep(&state{})
	err = errors.Join(err, set.store.Close())
	set.store = nil
	return err
}

// sourceOf gives the address from which a backend sees client. The lease is
// nil where it is not the pool's; otherwise the caller releases it when the
// connection is over.
func (st *state) sourceOf(kind Source, poolName string, client acl.Addr) (source, *pool.Lease, error) {
	switch {
	case kind == SourceTransparent && client.Is4():
		return source{addr: client.Netip(), transparent: true}, nil, nil
	case kind == SourcePool, kind == SourceTransparent && st.pools[poolName] != nil:
		lease, err := st.lease(poolName, client)
		if err != nil {
			return source{}, nil, err
		}
		return source{addr: lease.Addr}, lease, nil
	}
	return source{}, nil, nil
}

// lease gives client's address in a pool.
func (st *state) lease(poolName string, client acl.Addr) (*pool.Lease, error) {
	p := st.pools[poolName]
	if p == nil {
		return nil, fmt.Errorf("pool %q is not open", poolName)
	}
	lease, err := p.Lease(client)
	if err != nil {
		return nil, fmt.Errorf("pool-exhausted: %w", err)
	}
	return lease, nil
}

// Pool gives an open pool, for who and for status; nil when there is none of
// that name.
func (s *Server) Pool(name string) *pool.Pool { return s.state.Load().pools[name] }
