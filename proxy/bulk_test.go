package proxy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Content of 1 GiB (8 MiB in the short form) passes in both directions over
// each version of HTTP, to backends of each kind.
func TestLongContent(t *testing.T) {
	size, wait := int64(8<<20), patience
	if os.Getenv("GENKAN_RELIABILITY") == "long" {
		size, wait = 1<<30, 5*time.Minute
	}
	sum := sumOf(t, contentOf(size))
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
			io.Copy(w, contentOf(size)) // a client that is gone has seen it
			return
		}
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		fmt.Fprintf(w, "%d %x %v", n, h.Sum(nil), err)
	}
	plain := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(plain.Close)
	for _, to := range []string{strings.TrimPrefix(plain.URL, "http://"), "h2c://" + startH2C(t, handler)} {
		_, clients, _ := startFronts(t, to, nil)
		for _, c := range clients {
			began := time.Now()
			resp := c.askWithin(t, wait, "POST", "/", contentOf(size))
			if got, err := io.ReadAll(resp.Body); string(got) != fmt.Sprintf("%d %s <nil>", size, sum) || err != nil {
				t.Errorf("%s to %s: up: %q %v, want %d bytes", c.version, to, got, err, size)
			}
			resp = c.askWithin(t, wait, "GET", "/", nil)
			if got := sumOf(t, resp.Body); got != sum {
				t.Errorf("%s to %s: down: the content differs", c.version, to)
			}
			t.Logf("%s to %s: %d MiB up and down in %v", c.version, to, size>>20, time.Since(began))
		}
	}
}

// contentOf is content of so many bytes that repeats nowhere.
func contentOf(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{3}), size)
}

func sumOf(t *testing.T, r io.Reader) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Error(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
