package tunnel_test

import (
	"testing"

	"genkan/tunnel/tunneltest"
)

// The other end of a 6in4 tunnel may ask whether we are still there.
func TestAnswersNUD(t *testing.T) {
	for _, datapath := range userspaceAndEBPF(t) {
		t.Run(datapath, func(t *testing.T) { tunneltest.CheckNUD(t, datapath) })
	}
}
