package main

import (
	"testing"

	"github.com/google/nftables"
)

// drop makes a chain on the front that drops all IPv6 of a hook, as a firewall of which nobody told IPv6.
func (h *host) drop(t *testing.T, hook string) {
	t.Helper()
	err := h.Front.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		policy := nftables.ChainPolicyDrop
		at := nftables.ChainHookInput
		if hook == "output" {
			at = nftables.ChainHookOutput
		}
		table := nft.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv6, Name: "strict"})
		nft.AddChain(&nftables.Chain{Name: hook, Table: table, Type: nftables.ChainTypeFilter, Hooknum: at, Priority: nftables.ChainPriorityFilter, Policy: &policy})
		return nft.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}
