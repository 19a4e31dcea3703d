package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"genkan/cmd/genkan/config"
	"genkan/proxy/dnsupdate"
)

// The names of a running Genkan: DNS records that follow the tunnel's address. The zero value follows nothing.
type names struct {
	log  *slog.Logger
	file string        // what stands in DNS because of us; it survives restarts
	news chan struct{} // holds one: there is something to do

	mu      sync.Mutex         // guards what follows
	records *config.DNSRecords // nil: none
	address netip.Addr
}

// A record is one that we have written, or are about to.
type record struct {
	Zone string `json:"zone"`
	Text string `json:"record"` // as in a zone file
}

const (
	// retryFirst and retryMost are the pauses before a failed update is tried again: doubled each time.
	retryFirst = 5 * time.Second
	retryMost  = 5 * time.Minute
	// updatePatience bounds one update with all its zones.
	updatePatience = time.Minute
)

func newNames(log *slog.Logger, stateDir string) *names {
	return &names{log: log, file: filepath.Join(stateDir, "dns_update.json"), news: make(chan struct{}, 1)}
}

// follow writes a plan's records with an address from now on. Records that are not wanted any more go, unless records is
// nil: then what stands in DNS is left to the operator.
func (n *names) follow(records *config.DNSRecords, address netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records, n.address = records, address
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// serve keeps DNS as it should be until ctx ends.
func (n *names) serve(ctx context.Context) {
	pause, said := time.Duration(0), ""
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.news:
			pause = 0
		case <-again:
		}
		n.mu.Lock()
		records, address := n.records, n.address
		n.mu.Unlock()
		again = nil
		if records == nil || !address.IsValid() {
			continue
		}
		within, cancel := context.WithTimeout(ctx, updatePatience)
		err := n.update(within, records, address)
		cancel()
		switch {
		case err == nil:
			said = ""
			n.log.Info("dns: the records follow the tunnel", "address", address, "names", records.Names, "ptr", records.PTR)
			continue
		case ctx.Err() != nil:
			return
		case err.Error() != said: // once, not every five minutes
			said = err.Error()
			n.log.Error("dns: not all records follow the tunnel yet; tried again and again", "address", address, "error", err)
		}
		pause = min(max(2*pause, retryFirst), retryMost)
		again = time.After(pause)
	}
}

// update makes DNS say what it should. Records of others for the same names stay: several fronts may share a name.
func (n *names) update(ctx context.Context, records *config.DNSRecords, address netip.Addr) error {
	have, err := n.load()
	if err != nil {
		return err
	}
	want, err := wanted(ctx, records, address)
	errs := []error{err}
	all := slices.Clone(have)
	for _, r := range want {
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	if err := n.save(all); err != nil { // before it is done: what might stand is known
		return err
	}
	left := slices.Clone(all)
	for _, zone := range zonesOf(all) {
		change, err := changeOf(zone, all, want)
		if err == nil {
			err = records.Client.Update(ctx, zone, change)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		left = slices.DeleteFunc(left, func(r record) bool { return r.Zone == zone && !slices.Contains(want, r) })
	}
	return errors.Join(append(errs, n.save(left))...)
}

// wanted are the records for an address. What has no zone on the server is left out, with an error.
func wanted(ctx context.Context, records *config.DNSRecords, address netip.Addr) ([]record, error) {
	var all []record
	var errs []error
	add := func(name, kind, data string) {
		zone, err := records.Client.Zone(ctx, name)
		if err != nil {
			errs = append(errs, err)
			return
		}
		all = append(all, record{zone, fmt.Sprintf("%s %d IN %s %s", name, records.TTL, kind, data)})
	}
	for _, name := range records.Names {
		add(name, "AAAA", address.String())
	}
	if records.PTR != "" {
		arpa, err := dns.ReverseAddr(address.String())
		if err != nil {
			return nil, err
		}
		add(arpa, "PTR", records.PTR)
	}
	return all, errors.Join(errs...)
}

func zonesOf(all []record) []string {
	var zones []string
	for _, r := range all {
		if !slices.Contains(zones, r.Zone) {
			zones = append(zones, r.Zone)
		}
	}
	return zones
}

// changeOf is what has to change in one zone.
func changeOf(zone string, all, want []record) (dnsupdate.Change, error) {
	var c dnsupdate.Change
	for _, r := range all {
		if r.Zone != zone {
			continue
		}
		rr, err := dns.NewRR(r.Text)
		if err != nil {
			return c, fmt.Errorf("dns: record %q: %w", r.Text, err)
		}
		if slices.Contains(want, r) {
			c.Add = append(c.Add, rr)
		} else {
			c.Remove = append(c.Remove, rr)
		}
	}
	return c, nil
}

// maxNames bounds the file, in bytes.
const maxNames = 1 << 20

func (n *names) load() ([]record, error) {
	f, err := os.Open(n.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	defer f.Close()
	var all []record
	if err := json.NewDecoder(io.LimitReader(f, maxNames)).Decode(&all); err != nil {
		return nil, fmt.Errorf("dns: %s: %w; delete it, and look for records of former addresses by hand", n.file, err)
	}
	return all, nil
}

// save replaces the file as a whole.
func (n *names) save(all []record) error {
	text, err := json.MarshalIndent(all, "", "\t")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(n.file), 0o700)
	}
	if err == nil {
		err = os.WriteFile(n.file+".new", append(text, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(n.file+".new", n.file)
	}
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	return nil
}
