package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"genkan/acl"
	"genkan/acl/list"
	"genkan/cmd/genkan/config"
)

// The lists of a running Genkan: their files are watched, and entries are added at run time. The zero value has none.
type lists struct {
	front *front
	book  *list.Book // nil: entries cannot be added, as errBook says
	err   error

	mu    sync.Mutex // guards the fields below
	plan  *config.Plan
	stop  context.CancelFunc // ends the watch of plan's files
	ended sync.WaitGroup     // all watches
}

// open opens the book of added entries. Without one, Genkan runs and says why nothing can be added.
func (l *lists) open(plan *config.Plan) {
	l.plan = plan // nobody asks yet
	if plan.Proxy.StateDir == "" || len(plan.Named) == 0 {
		l.err = errors.New("the configuration has no [lists]")
		return
	}
	l.book, l.err = list.OpenBook(filepath.Join(plan.Proxy.StateDir, "lists.db"), l.front.log)
	if l.err != nil {
		l.front.log.Warn("no entries can be added to lists", "error", l.err)
	}
}

// follow takes a plan's lists in the place of those before.
func (l *lists) follow(ctx context.Context, plan *config.Plan) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
	l.plan = plan
	if l.book != nil {
		for name, one := range plan.Named {
			l.book.Bind(name, one)
		}
	}
	ctx, l.stop = context.WithCancel(ctx)
	if plan.Lists != nil && len(plan.Lists.Status()) > 0 {
		l.ended.Go(func() {
			if err := plan.Lists.Serve(ctx); err != nil {
				l.front.log.Error("list files are not followed any more", "error", err)
			}
		})
	}
}

// current is the plan that is in force.
func (l *lists) current() *config.Plan {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.plan
}

// serve forgets added entries as they end, until ctx ends.
func (l *lists) serve(ctx context.Context) {
	if l.book != nil {
		if err := l.book.Serve(ctx); err != nil {
			l.front.log.Error("added list entries do not end any more", "error", err)
		}
	}
	<-ctx.Done()
}

// close waits for the watches, whose context has ended, and closes the book.
func (l *lists) close() error {
	l.ended.Wait()
	if l.book == nil {
		return nil
	}
	return l.book.Close()
}

// A listState is how a list stands, in JSON.
type listState struct {
	Name    string       `json:"name"`
	Path    string       `json:"path"`    // of its file; "" without one
	Entries int          `json:"entries"` // disjoint spans, without the added ones
	Error   string       `json:"error"`   // why the file as it is now is not in force; "": it is
	Added   []addedEntry `json:"added"`
}

// An addedEntry is one that was added at run time.
type addedEntry struct {
	Entry string     `json:"entry"`
	Until *time.Time `json:"until"` // null: for good
}

func entryState(e acl.Entry) addedEntry {
	a := addedEntry{Entry: spellRange(e.Range)}
	if !e.Until.IsZero() {
		a.Until = &e.Until
	}
	return a
}

// spellRange writes a range as a prefix or an address where it is one.
func spellRange(r acl.Range) string {
	if r.First == r.Last {
		return r.First.String()
	}
	for bits := range r.First.Netip().BitLen() {
		p, err := r.First.Netip().Prefix(bits)
		if whole := acl.PrefixFrom(p); err == nil && acl.RangeOf(whole) == r {
			return whole.String()
		}
	}
	return r.String()
}

// A listsState is all lists of a running Genkan, in JSON.
type listsState struct {
	File  string      `json:"file"` // the configuration, as an absolute path
	Lists []listState `json:"lists"`
}

// state is all lists, or the one that is named.
func (l *lists) state(only string) (listsState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := make(map[string]list.Status)
	if l.plan.Lists != nil {
		for _, s := range l.plan.Lists.Status() {
			files[s.Name] = s
		}
	}
	all := listsState{Lists: []listState{}}
	if file, err := filepath.Abs(l.plan.File); err == nil {
		all.File = file
	}
	wanted, known := l.plan.ListName(only)
	for _, name := range slices.Sorted(maps.Keys(l.plan.Named)) {
		if only != "" && name != wanted {
			continue
		}
		s := listState{Name: name, Entries: l.plan.Named[name].Set().Len(), Added: []addedEntry{}}
		if f, ok := files[name]; ok {
			s.Path = f.Path
			if f.Err != nil {
				s.Error = f.Err.Error()
			}
		}
		if l.book != nil {
			for _, e := range l.book.Show(name) {
				s.Added = append(s.Added, entryState(e))
			}
		}
		all.Lists = append(all.Lists, s)
	}
	if only != "" && !known {
		return all, l.unknown(only)
	}
	return all, nil
}

func (l *lists) unknown(name string) error {
	names := slices.Sorted(maps.Keys(l.plan.Named))
	if near := config.DidYouMean(name, names); near != "" {
		return fmt.Errorf("no list %q; did you mean %q?", name, near)
	}
	return fmt.Errorf("no list %q; the lists are %q", name, names)
}

// A listChange is an entry that is to be added.
type listChange struct {
	Entry string `json:"entry"`
	For   string `json:"for"` // how long it holds, as "1h"; "": for good
	Cut   bool   `json:"cut"` // ends the connections of those clients
}

// A listChanged is the answer.
type listChanged struct {
	addedEntry
	Cut int `json:"cut"` // connections that were ended
}

// known is the name of a list; it fails for one that is not there, or that cannot be added to.
func (l *lists) known(name string) (string, error) {
	if l.err != nil {
		return "", l.err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.plan.ListName(name)
	if !ok {
		return "", l.unknown(name)
	}
	return known, nil
}

func (l *lists) add(name string, c listChange) (listChanged, error) {
	name, err := l.known(name)
	if err != nil {
		return listChanged{}, err
	}
	var holds time.Duration
	if c.For != "" {
		if holds, err = acl.ParseDuration(c.For); err != nil || holds <= 0 {
			return listChanged{}, refuse(http.StatusBadRequest, "for %q is no time to come; write \"1h\" or \"7d\"", c.For)
		}
	}
	e, err := l.book.Add(name, c.Entry, holds)
	if err != nil {
		return listChanged{}, err
	}
	changed := listChanged{addedEntry: entryState(e)}
	if c.Cut {
		env := l.current().Env
		changed.Cut = l.front.proxy.Cut(func(a acl.Addr) bool { return env.Denies(e.Range, a) })
	}
	l.front.log.Info("list entry added", "list", name, "entry", changed.Entry, "for", holds, "cut", changed.Cut)
	return changed, nil
}

func (l *lists) del(name, entry string) (listChanged, error) {
	name, err := l.known(name)
	if err != nil {
		return listChanged{}, err
	}
	e, err := acl.ParseEntry(entry)
	if err == nil {
		entry = e.Short() // from here on in the one form that it has
		err = l.book.Del(name, entry)
	}
	if err != nil {
		return listChanged{}, err
	}
	l.front.log.Info("list entry taken away", "list", name, "entry", entry)
	return listChanged{addedEntry: addedEntry{Entry: entry}}, nil
}

// A ban is an entry that was added to a list at run time.
type ban struct {
	List string `json:"list"`
	addedEntry
}

func (l *lists) bans() ([]ban, error) {
	all := []ban{}
	state, err := l.state("")
	for _, one := range state.Lists {
		for _, e := range one.Added {
			all = append(all, ban{one.Name, e})
		}
	}
	return all, err
}

// routes are what can be asked for about lists.
func (l *lists) routes() []route {
	return []route{
		{"GET /v1/lists", func(w http.ResponseWriter, r *http.Request) {
			all, err := l.state(r.URL.Query().Get("name"))
			answer(w, all, err)
		}},
		{"GET /v1/bans", func(w http.ResponseWriter, _ *http.Request) {
			all, err := l.bans()
			answer(w, all, err)
		}},
		{"POST /v1/lists/{name}/entries", func(w http.ResponseWriter, r *http.Request) {
			c, err := question[listChange](w, r)
			var changed listChanged
			if err == nil {
				changed, err = l.add(r.PathValue("name"), c)
			}
			answer(w, changed, err)
		}},
		{"DELETE /v1/lists/{name}/entries", func(w http.ResponseWriter, r *http.Request) {
			changed, err := l.del(r.PathValue("name"), r.URL.Query().Get("entry"))
			answer(w, changed, err)
		}},
	}
}
