package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Check looks at the file only; with --probe it asks the mail server, whose
// answer is the exit status.
func TestCheckProbe(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			asked <- struct{}{}
			c.SetDeadline(time.Now().Add(patience))
			buf := make([]byte, 512)
			for answer := "220 ready\r\n"; err == nil; answer = "250 ok\r\n" {
				if _, err = fmt.Fprint(c, answer); err == nil {
					_, err = c.Read(buf)
				}
			}
			c.Close()
		}
	}()
	defer func() {
		l.Close()
		<-ended
	}()
	file := filepath.Join(t.TempDir(), "genkan.toml")
	text := fmt.Sprintf("state_dir = %q\n[forward.mail]\nlisten = \"127.0.0.2:2525\"\nto = %q\nprotocol = \"smtp\"\nallow_open_relay = true\n", t.TempDir(), l.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		args []string
		want error
		says string
	}{
		{nil, nil, ""},
		{[]string{"--probe"}, exit(1), "bad   open relay: " + l.Addr().String() + ` of forward "mail" takes mail for elsewhere for a client (this machine): 250 ok`},
	} {
		var out, errs bytes.Buffer
		cmd := checkCommand(streams{out: &out, err: &errs})
		cmd.SetArgs(append([]string{"-c", file}, row.args...))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.ExecuteContext(context.Background()); err != row.want {
			t.Errorf("%q: %v, want %v", row.args, err, row.want)
		}
		if !strings.Contains(out.String(), row.says) {
			t.Errorf("%q: no %q in:\n%s", row.args, row.says, &out)
		}
		select {
		case <-asked:
			if len(row.args) == 0 {
				t.Error("check without --probe asked the server")
			}
		default:
			if len(row.args) > 0 {
				t.Error("check --probe did not ask the server")
			}
		}
	}
}
