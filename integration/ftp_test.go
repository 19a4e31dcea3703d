package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/lab"
	"genkan/integration/servers"

	"golang.org/x/sys/unix"
)

var ftpConfig = tunnelConfig + fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[forward.ftp]
listen   = ["tunnel:21", "%s:21"]
to       = "%s:21"
protocol = "ftp"
passive  = "50000-50009"
`, lab.FrontV4, lab.BackendV4)

// An ftpClient is a real client that gets a file, and puts one where it can.
type ftpClient struct {
	name, program, debian string
	get, put              func(url, file string) []string
}

func shell(format string) func(url, file string) []string {
	return func(url, file string) []string {
		return []string{"/bin/sh", "-c", fmt.Sprintf(format, url, file)}
	}
}

// tnftp wants a terminal for nothing but its prompts; HOME keeps it from ours.
var ftpClients = []ftpClient{
	{"curl", "curl", "curl", shell("curl -sS --noproxy '*' -m 60 -o '%[2]s' '%[1]s'"), shell("curl -sS --noproxy '*' -m 60 -T '%[2]s' '%[1]s'")},
	{"curl-active", "curl", "curl", shell("curl -sS --noproxy '*' -m 60 -P - -o '%[2]s' '%[1]s'"), shell("curl -sS --noproxy '*' -m 60 -P - -T '%[2]s' '%[1]s'")},
	{"curl-pasv", "curl", "curl", shell("curl -sS --noproxy '*' -m 60 --disable-epsv --no-ftp-skip-pasv-ip -o '%[2]s' '%[1]s'"), nil},
	{"lftp", "lftp", "lftp", shell("lftp -c 'set net:max-retries 1; set net:timeout 60; get %[1]s -o %[2]s'"), nil},
	{"lftp-active", "lftp", "lftp", shell("lftp -c 'set net:max-retries 1; set net:timeout 60; set ftp:passive-mode off; get %[1]s -o %[2]s'"), nil},
	{"wget", "wget", "wget", shell("wget -q -t 1 -T 60 --no-proxy -O '%[2]s' '%[1]s'"), nil},
	{"wget-active", "wget", "wget", shell("wget -q -t 1 -T 60 --no-proxy --no-passive-ftp -O '%[2]s' '%[1]s'"), nil},
	{"tnftp", "tnftp", "tnftp", shell("HOME=/nonexistent tnftp -o '%[2]s' '%[1]s' </dev/null"), nil},
	{"tnftp-active", "tnftp", "tnftp", shell("HOME=/nonexistent tnftp -A -o '%[2]s' '%[1]s' </dev/null"), nil},
}

// Every client of FTP, of both families, passive and active, gets a file from
// an IPv4-only vsftpd whole, and puts one there.
func TestFTPClients(t *testing.T) {
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab)
	file := bytes.Repeat([]byte("Take off your shoes.\n"), 20000)
	if err := os.WriteFile(filepath.Join(vsftpd.Dir, "root/pub/file"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	w.front(t, ftpConfig)
	for _, client := range ftpClients {
		require.Program(t, client.program, client.debian)
		for _, c := range clients[:2] {
			t.Run(client.name+"-"+c.name, func(t *testing.T) {
				got := filepath.Join(t.TempDir(), "got")
				text, err := out(t, w.client(c.addr), client.get("ftp://"+c.to+"/pub/file", got)...)
				data, _ := os.ReadFile(got)
				if err != nil || sha256.Sum256(data) != sha256.Sum256(file) {
					t.Fatalf("got %d bytes of %d, %v\n%s", len(data), len(file), err, text)
				}
				if client.put == nil {
					return
				}
				put := "incoming/" + client.name + "-" + c.name
				if text, err := out(t, w.client(c.addr), client.put("ftp://"+c.to+"/"+put, got)...); err != nil {
					t.Fatalf("put: %v\n%s", err, text)
				}
				data, err = os.ReadFile(filepath.Join(vsftpd.Dir, "root", put))
				if err != nil || sha256.Sum256(data) != sha256.Sum256(file) {
					t.Errorf("put %d bytes of %d, %v", len(data), len(file), err)
				}
			})
		}
	}
}

// After AUTH TLS the gateway is blind: data finds its way by the passive range
// that server and gateway share, and resumes the control connection's session.
func TestFTPOverTLS(t *testing.T) {
	w := mustWorld(t)
	cert, key := mustCert(t)
	vsftpd := servers.StartVsftpd(t, w.Lab, "ssl_enable=YES", "allow_anon_ssl=YES", "force_anon_logins_ssl=YES", "force_anon_data_ssl=YES",
		"ssl_tlsv1=YES", "require_ssl_reuse=YES", "ssl_ciphers=HIGH", "rsa_cert_file="+cert, "rsa_private_key_file="+key)
	mustWrite(t, filepath.Join(vsftpd.Dir, "root/pub/file"), "Take off your shoes.\n")
	w.front(t, ftpConfig)
	for _, c := range clients[:2] {
		t.Run(c.name, func(t *testing.T) {
			text, err := out(t, w.client(c.addr), "curl", "-sS", "--noproxy", "*", "-m", "25", "--ssl-reqd", "--insecure", "--interface", c.addr, "ftp://"+c.to+"/pub/file")
			if err != nil || text != "Take off your shoes.\n" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// A neighbour that connects to the port which another client was told gets
// nothing, and the client its file.
func TestFTPDataTheft(t *testing.T) {
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab)
	mustWrite(t, filepath.Join(vsftpd.Dir, "root/pub/secret"), "for my eyes only\n")
	front := w.front(t, ftpConfig)
	to := "[" + lab.Front6.String() + "]"
	control := w.dial(t, lab.Client6.String(), to, 21)
	ask := func(line, want string) string {
		t.Helper()
		if line != "" {
			fmt.Fprintf(control, "%s\r\n", line)
		}
		buf := make([]byte, 512)
		n, err := control.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("%q: %q, %v, want %s", line, buf[:n], err, want)
		}
		return string(buf[:n])
	}
	ask("", "220")
	ask("USER anonymous", "331")
	ask("PASS x@", "230")
	// The bounce: data for somebody else, and for a service's port.
	ask(fmt.Sprintf("EPRT |2|%s|40000|", lab.Denied6), "500 Illegal address")
	ask(fmt.Sprintf("EPRT |2|%s|25|", lab.Client6), "500 Illegal port")
	reply := ask("EPSV", "229")
	port, err := strconv.Atoi(strings.Trim(reply[strings.Index(reply, "(")+1:strings.Index(reply, ")")], "|"))
	if err != nil {
		t.Fatal(err)
	}
	thief, err := w.tryDial(t, lab.Denied6.String(), to, port)
	fmt.Fprintf(control, "RETR pub/secret\r\n")
	if err == nil { // else the reset was there before dial had returned
		if got, err := io.ReadAll(thief); err == nil || len(got) > 0 {
			t.Errorf("the thief got %q, %v; want a reset", got, err)
		}
	}
	data := w.dial(t, lab.Client6.String(), to, port)
	if got, err := io.ReadAll(data); err != nil || string(got) != "for my eyes only\n" {
		t.Errorf("the client got %q, %v", got, err)
	}
	waitUntil(t, patience, "log of the theft", func() error {
		if !logHas(front.Output(), lab.Denied6.String(), "not told to this client") {
			return fmt.Errorf("no line in:\n%s", front.Output())
		}
		return nil
	})
}

// An ABOR in the midst of a transfer is sent with urgent data (RFC 959 §4.1.3).
func TestFTPUrgentAbort(t *testing.T) {
	w := mustWorld(t)
	servers.StartVsftpd(t, w.Lab)
	w.front(t, ftpConfig)
	control := w.dial(t, lab.Client6.String(), "["+lab.Front6.String()+"]", 21)
	lines := func(want string) {
		t.Helper()
		buf := make([]byte, 512)
		n, err := control.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("%q, %v, want %s", buf[:n], err, want)
		}
	}
	lines("220")
	fmt.Fprintf(control, "USER anonymous\r\n")
	lines("331")
	fmt.Fprintf(control, "PASS x@\r\n")
	lines("230")
	sendUrgent(t, control, "\xff\xf4\xff", "\xf2")
	fmt.Fprintf(control, "ABOR\r\n")
	lines("225")
}

// sendUrgent sends plain bytes, and the last one as urgent data.
func sendUrgent(t *testing.T, conn *net.TCPConn, plain, urgent string) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if err = unix.Sendto(int(fd), []byte(plain), 0, nil); err == nil {
			err = unix.Sendto(int(fd), []byte(urgent), unix.MSG_OOB, nil)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
