package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"genkan/proxy/internal/webtest"
)

// soakRequests is how many requests TestNothingReachesTheWrongClient makes.
const soakRequests = 5_000

// TestNothingReachesTheWrongClient sends tagged requests through few backend
// connections while both sides misbehave: clients leave half-way, backends
// cut answers, close idle connections and append what nobody asked for.
// Whoever gets a whole answer gets his own, and no POST is sent twice.
func TestNothingReachesTheWrongClient(t *testing.T) {
	var posts sync.Map // tag → *atomic.Int32
	var wrong, cut, good, refused atomic.Int32
	addr := webtest.StartBackend(t, func(c *net.TCPConn) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			tag := r.URL.Path
			if r.Method == "POST" {
				n, _ := posts.LoadOrStore(tag, new(atomic.Int32))
				if n.(*atomic.Int32).Add(1) > 1 {
					t.Errorf("POST %s came twice", tag)
				}
				if string(body) != strings.Repeat(tag, 100) {
					t.Errorf("POST %s brought %d bytes of another", tag, len(body))
				}
			}
			if !misanswer(c, tag) {
				return
			}
		}
	})
	f := startFront(t, addr, nil)
	var wg sync.WaitGroup
	var next atomic.Int32
	for range 32 {
		wg.Go(func() {
			var c *client
			defer func() {
				if c != nil {
					c.Close()
				}
			}()
			for i := next.Add(1); i <= soakRequests; i = next.Add(1) {
				if c == nil {
					conn, err := net.Dial("tcp", f.Addr)
					if err != nil {
						t.Error(err)
						return
					}
					c = &client{conn.(*net.TCPConn), bufio.NewReader(conn)}
				}
				c.SetDeadline(time.Now().Add(patience))
				tag := fmt.Sprintf("/%08d/", i)
				switch ask(c, tag) {
				case "own":
					good.Add(1)
				case "refused":
					refused.Add(1)
				case "wrong":
					wrong.Add(1)
					fallthrough
				default:
					cut.Add(1)
					c.Close()
					c = nil
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d whole, %d refused, %d cut", good.Load(), refused.Load(), cut.Load())
	if wrong.Load() > 0 || good.Load() < soakRequests/2 {
		t.Errorf("%d answers of another client, %d whole; want 0 and most of %d", wrong.Load(), good.Load(), soakRequests)
	}
}

// ask makes one request, or half of one, and says what came of it.
func ask(c *client, tag string) string {
	body := ""
	head := "GET " + tag + " HTTP/1.1\r\nHost: a.test\r\n\r\n"
	switch rand.IntN(4) {
	case 0:
		body = strings.Repeat(tag, 100)
		head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n", tag, len(body))
	case 1:
		text := strings.Repeat(tag, 100)
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text), text)
		head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", tag)
	}
	if rand.IntN(50) == 0 {
		io.WriteString(c, head+body[:len(body)/2])
		return "left"
	}
	if _, err := io.WriteString(c, head+body); err != nil {
		return "cut"
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return "cut"
	}
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return "cut"
	case resp.StatusCode == 502 && !resp.Close:
		return "refused"
	case resp.StatusCode != 200:
		return "cut"
	case string(bytes.ReplaceAll(got, []byte(tag), nil)) != "" || len(got) == 0:
		return "wrong"
	case resp.Close:
		return "closing"
	}
	return "own"
}

// misanswer answers, most of the time, and reports whether the connection
// goes on.
func misanswer(c net.Conn, tag string) bool {
	size := rand.IntN(3000) + 1
	text := strings.Repeat(tag, size)
	switch rand.IntN(60) {
	case 0: // cut
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text[:len(text)/2])
		return false
	case 1: // cut
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(text), text)
		return false
	case 2: // more than was asked for
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison", len(text), text)
	case 3: // no answer
		return false
	case 4: // closes behind the answer, without saying so
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		return false
	case 5, 6, 7, 8, 9, 10, 11, 12, 13, 14:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(text), text)
	default:
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	return true
}
