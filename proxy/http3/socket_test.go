package http3_test

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"genkan/proxy/http3"
)

// share gives the socket of f to a second process, as it were.
func (f *front) share(t *testing.T, older *http3.Older, backend string) *front {
	t.Helper()
	file, err := f.udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pc, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return startFrontOn(t, pc.(*net.UDPConn), older, backend, nil)
}

// A request that an older process has begun ends there while younger ones
// have the socket, and new connections are the youngest one's. An older process
// whose successor fails reads on.
func TestSocketHandedOver(t *testing.T) {
	begun, release := make(chan string, 8), make(chan struct{})
	slow := func(name string) string {
		return startHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				begun <- name
				<-release
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, name)
		})
	}
	generations := []*front{startFront(t, slow("0"), nil)}
	var waiting sync.WaitGroup
	ask := func(f *front, path, want string) {
		resp, err := f.dial(t).RoundTrip(mustRequest(t, "GET", "https://a.test"+path, nil))
		if err != nil {
			t.Errorf("%s of %s: %v", path, want, err)
			return
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != want {
			t.Errorf("%s: %q, %v, want %q", path, body, err, want)
		}
	}
	for _, name := range []string{"1", "2", "3"} {
		last := generations[len(generations)-1]
		before := string('0' + byte(len(generations)-1))
		waiting.Go(func() { ask(last, "/slow", before) })
		if got := <-begun; got != before {
			t.Fatalf("the request reached %s, want %s", got, before)
		}
		lost, err := last.socket.HandOver() // to one that fails
		if err != nil {
			t.Fatal(err)
		}
		lost.Pipe.Close()
		if err := last.socket.TakeBack(); err != nil {
			t.Fatal(err)
		}
		ask(last, "/", before)
		older, err := last.socket.HandOver()
		if err != nil {
			t.Fatal(err)
		}
		if len(older.Tags) != len(generations) {
			t.Errorf("%d tags, want %d", len(older.Tags), len(generations))
		}
		generations = append(generations, last.share(t, &older, slow(name)))
		ask(generations[len(generations)-1], "/", name)
	}
	close(release)
	waiting.Wait()
}
