package guest

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"genkan/tunnel"
)

// Without nftables for IPv6 nothing could be kept from the world: where the
// tunnel is to admit listeners only, that is an error that names what is
// missing. Run in user-mode Linux only, which has tables, but none for IPv6.
func TestNoNftables(t *testing.T) {
	for _, row := range []struct {
		name   string
		unload *regexp.Regexp
	}{
		{"no-ipv6-tables", nil},
		{"no-tables", regexp.MustCompile(`^(nft_.*|nf_tables)$`)},
		{"no-nfnetlink", regexp.MustCompile(`^(nft_.*|nf_tables|nfnetlink)$`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			mustUnload(t, modulesLike(t, row.unload)...)
			l := mustLab(t)
			cfg := edge()
			cfg.StateDir, cfg.Datapath, cfg.Expose = t.TempDir(), tunnel.DatapathUserspace, tunnel.ExposeListeners
			var tun *tunnel.Tunnel
			err := l.Front.Do(func() (err error) {
				tun, err = tunnel.Up(t.Context(), cfg)
				return err
			})
			if err == nil {
				t.Fatalf("the tunnel is up without a filter: %v", tun.Close())
			}
			const want = `tunnel: filter for "tun6rd": this kernel has no nftables for IPv6 (load the module nf_tables, CONFIG_NF_TABLES and CONFIG_NF_TABLES_IPV6): `
			if got := err.Error(); !strings.HasPrefix(got, want) || strings.Contains(got, "\n") {
				t.Errorf("error\n %s, want\n %s…", got, want)
			}
			cfg.Expose = tunnel.ExposeAll // an open tunnel needs no filter of its own
			_, down := mustUp(t, l.Front, cfg)
			down()
			if kind, err := linkKind(l.Front, "tun6rd"); err == nil {
				t.Errorf("left behind: a %q device", kind)
			}
		})
	}
}

// modulesLike are the guest's modules of such names, those that depend on
// others first.
func modulesLike(t *testing.T, names *regexp.Regexp) []string {
	t.Helper()
	files, err := filepath.Glob("/mod/*.ko")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".ko"), "-")
		if names != nil && names.MatchString(name) {
			found = append(found, name)
		}
	}
	slices.Reverse(found)
	return found
}
