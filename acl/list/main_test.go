package list

import (
	"testing"

	"go.uber.org/goleak"

	"genkan/acl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must returns v of a call that cannot fail in a test's set-up.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func addr(s string) acl.Addr { return must(acl.ParseAddr(s)) }
