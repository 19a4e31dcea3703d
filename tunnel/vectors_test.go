package tunnel_test

import (
	"testing"

	"go.uber.org/goleak"

	"genkan/tunnel/tunneltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every row of the vectors as a real packet, through the datapaths that this
// kernel has.
func TestVectors(t *testing.T) {
	rows := tunneltest.LoadVectors(t, "ingress/testdata/tunnel-packets.tsv")
	for name, cfg := range tunneltest.Configs() {
		for _, datapath := range userspaceAndEBPF(t) {
			t.Run(name+"_"+datapath, func(t *testing.T) {
				cfg.Datapath = datapath
				j := tunneltest.NewJudge(t, cfg)
				for _, v := range rows {
					if v.Config == name {
						j.Check(t, v)
					}
				}
				t.Log(j.Tunnel.Status().Drops)
			})
		}
	}
}
