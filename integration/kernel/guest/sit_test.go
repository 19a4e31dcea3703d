package guest

import (
	"testing"

	"genkan/integration/lab"

	"github.com/vishvananda/netlink"
)

func TestGuestHasSit(t *testing.T) {
	l, err := lab.New(lab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = l.Front.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "probe"
		return netlink.LinkAdd(&netlink.Sittun{LinkAttrs: attrs, Local: lab.FrontV4.AsSlice(), Proto: 41})
	})
	if err != nil {
		t.Fatal(err)
	}
}
