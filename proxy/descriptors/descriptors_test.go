package descriptors

import (
	"math"
	"os"
	"testing"
)

func TestBounds(t *testing.T) {
	for _, row := range []struct{ most, accept, serve int32 }{
		{8, 6, 7},
		{64, 48, 56},
		{256, 200, 232},
		{1024, 960, 1000},
		{1 << 20, 1<<20 - 64, 1<<20 - 24},
		{math.MaxInt32, math.MaxInt32 - 64, math.MaxInt32 - 24},
	} {
		if got, want := under(row.most), (Bounds{row.accept, row.serve}); got != want {
			t.Errorf("of %d: %+v, want %+v", row.most, got, want)
		}
	}
	if now := Now(); now.Accept <= 0 || now.Serve <= now.Accept {
		t.Errorf("of this process: %+v", now)
	}
}

// The next number is that of what is opened next, and looking takes none.
func TestNext(t *testing.T) {
	want := Next(0)
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	if got := int32(f.Fd()); got != want {
		t.Errorf("opened %d, want %d", got, want)
	}
	if next := Next(0); next <= want {
		t.Errorf("next %d beside an open %d", next, want)
	}
	f.Close()
	if got := Next(0); got != want {
		t.Errorf("next %d once it is closed, want %d", got, want)
	}
	if got := Next(-1); got != math.MaxInt32 {
		t.Errorf("next %d of a descriptor that is not open", got)
	}
}
