package bpf

import (
	"testing"

	"genkan/tunnel/ingress"
)

// TestProbe: every configuration has a packet to try, and this kernel passes.
func TestProbe(t *testing.T) {
	requireBPF(t)
	for name, cfg := range configs() {
		check, err := ingress.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if welcome(check) == nil {
			t.Errorf("%s: no packet passes", name)
		}
		for _, e := range append(bothEnds()[1:], guardEnd()...) {
			if err := probe(Config{Check: check, TTL: 64, TUN: 1, Uplink: 1, LinkHeader: 14, MTU: 1280}, e); err != nil {
				t.Errorf("%s, %s: %v", name, e.name, err)
			}
		}
	}
}
