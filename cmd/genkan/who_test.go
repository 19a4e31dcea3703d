package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Who tells in both directions who stands behind an address of the pool, also
// for times before it went to another client and before a restart.
func TestWho(t *testing.T) {
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "genkan.toml"), filepath.Join(dir, "sock")
	// A pool of five, of addresses that need no route.
	text := fmt.Sprintf("state_dir = %q\n[pool.default]\nprefix = \"127.64.0.0/29\"\nquarantine = \"1500ms\"\n"+
		"[forward.a]\nlisten = \"127.0.0.1:0\"\nto = %q\nsource = \"pool\"\n", dir, startEcho(t))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	who := func(want string, args ...string) {
		t.Helper()
		_, out, complaint := genkan("", append([]string{"who", "--socket", socket}, args...)...)
		if got := out + complaint; !strings.HasPrefix(got, want) {
			t.Errorf("who %v: got %q, want %q", args, got, want)
		}
	}
	// What is kept is exact to the second.
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339Nano) }
	before := ago(2 * time.Second)
	d := startProcess(t, "run", "-c", file, "--socket", socket)
	enter := func(client string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}
		conn, err := dialer.Dial("tcp", d.addr)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return nil, err
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			return nil, err
		}
		_, err = conn.Read(make([]byte, 1))
		return conn, err
	}
	first, err := enter("127.0.1.1")
	if err != nil {
		t.Fatal(err)
	}
	theFirst := "127.0.1.1/32: 127.64.0.1 in pool default, since "
	who(theFirst, "127.64.0.1")
	who(theFirst, "127.0.1.1")
	who("127.0.1.9: nobody\n", "127.0.1.9")
	then := ago(0)
	first.Close()
	var open []net.Conn
	for i := 2; i <= 5; i++ {
		conn, err := enter(fmt.Sprintf("127.0.1.%d", i))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	sixth, err := enter("127.0.1.6")
	for deadline := time.Now().Add(patience); err != nil; sixth, err = enter("127.0.1.6") { // refused while the address rests
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(50 * time.Millisecond)
	}
	theSixth := "127.0.1.6/32: 127.64.0.1 in pool default, since "
	who(theSixth, "127.64.0.1")
	who(theFirst, "127.64.0.1", "--at", then)
	who("127.64.0.1: nobody\n", "127.64.0.1", "--at", before)
	who("127.0.1.1: nobody\n", "127.0.1.1")
	who(theFirst, "127.0.1.1", "--at", then)
	who("127.0.1.1: nobody\n", "127.0.1.1", "--at", before)
	who("127.0.1.6: nobody\n", "127.0.1.6", "--at", then)
	who("127.0.1.1: nobody\n", "127.0.1.1")
	for _, conn := range append(open, sixth) {
		conn.Close()
	}
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
	d = startProcess(t, "run", "-c", file, "--socket", socket)
	who(theFirst, "127.64.0.1", "--at", then)
	who(theSixth, "127.64.0.1")
	if status := d.stop(t, syscall.SIGTERM); status != 0 {
		t.Errorf("exit status %d", status)
	}
}
