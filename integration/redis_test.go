package integration

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"genkan/integration/servers"
)

// Redis stands for any server over TCP: clients of both families store and
// fetch a megabyte, and have an address of the pool each.
func TestRedis(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	servers.StartRedis(t, w.Lab)
	w.front(t, threeWays(6379, 0))
	value := strings.Repeat("Take off your shoes. ", 50000)
	for _, c := range clients[:2] {
		conn := w.dial(t, c.addr, c.to, 2002)
		r := bufio.NewReader(conn)
		ask := func(words ...string) string {
			t.Helper()
			fmt.Fprintf(conn, "*%d\r\n", len(words))
			for _, word := range words {
				fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
			}
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "$") {
				return strings.TrimSpace(line)
			}
			size, err := strconv.Atoi(strings.TrimSpace(line[1:]))
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, size+2)
			if _, err := io.ReadFull(r, data); err != nil {
				t.Fatal(err)
			}
			return string(data[:size])
		}
		if got := ask("SET", c.name, value); got != "+OK" {
			t.Errorf("%s: SET: %q", c.name, got)
		}
		if got := ask("GET", c.name); got != value {
			t.Errorf("%s: GET gives %d bytes of %d", c.name, len(got), len(value))
		}
		if got := ask("CLIENT", "INFO"); !strings.Contains(got, " addr=100.64.") {
			t.Errorf("%s: Redis sees %q", c.name, got)
		}
	}
}
