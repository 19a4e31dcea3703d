package user

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Packets are left to gather in a stream that the receiver is faster than.
func TestModerate(t *testing.T) {
	for _, row := range []struct {
		name  string
		count int
		size  uint32
		want  bool
	}{
		{"nothing", 0, 0, false},
		{"one_packet", 1, 1500, false},
		{"question_and_answer", 3, 100, false},
		{"slow_stream", 4, 1500, true},
		{"small_datagrams", 63, 64, true},
		{"full_batch", 64, 64, false},
		{"super_packets", 4, 20000, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			batch := make([]unix.Mmsghdr, row.count)
			for i := range batch {
				batch[i].Len = row.size
			}
			if got := moderate(batch); got != row.want {
				t.Errorf("moderate: %v, want %v", got, row.want)
			}
		})
	}
}
