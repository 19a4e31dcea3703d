package integration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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

// Every client of FTP, of both families, passive and active, gets a file from
// an IPv4-only vsftpd whole, and puts one there.
func TestFTPClients(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab)
	w.front(t, ftpConfig)
	w.checkFTPClients(t, ftpClients, vsftpd)
}

// A vsftpd that speaks plain serves clients of FTPS, explicit and implicit,
// passive and active, who must have TLS for all and resume its session.
func TestFTPSClients(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	cert, key := mustCert(t)
	vsftpd := servers.StartVsftpd(t, w.Lab)
	tls := fmt.Sprintf("cert = %q\nkey = %q\n", cert, key)
	w.front(t, strings.Replace(ftpConfig, `listen   = [`, `listen   = ["tunnel:990", "`+lab.FrontV4.String()+`:990", `, 1)+
		tls+"ftp_require = [\"login\", \"data\", \"reuse\"]\n"+fmt.Sprintf(`
[forward.lenient]
listen   = ["tunnel:2121", "%s:2121"]
to       = "%s:21"
protocol = "ftp"
passive  = "50010-50019"
`, lab.FrontV4, lab.BackendV4)+tls)
	w.checkFTPClients(t, ftpsClients, vsftpd)
}

// Much data crosses the gateway each way under TLS: 8 MB, and the 200 MB of a
// disk image in the long form.
func TestFTPSBulk(t *testing.T) {
	t.Parallel()
	size := int64(8 << 20)
	if longRun() {
		size = 200 << 20
	}
	w := mustWorld(t)
	cert, key := mustCert(t)
	vsftpd := servers.StartVsftpd(t, w.Lab)
	image := filepath.Join(vsftpd.Dir, "root/pub/image")
	want := mustRandomFile(t, image, size)
	w.front(t, ftpConfig+fmt.Sprintf("cert = %q\nkey = %q\nftp_require = [\"login\", \"data\", \"reuse\"]\n", cert, key))
	got := filepath.Join(t.TempDir(), "image")
	at := "ftp://[" + lab.Front6.String() + "]"
	for _, row := range []struct{ name, arg, file, url, arrives string }{
		{"down", "-o", got, at + "/pub/image", got},
		{"up", "-T", image, at + "/incoming/image", filepath.Join(vsftpd.Dir, "root/incoming/image")},
	} {
		if text, err := outWithin(t, w.Client6, 4*time.Minute, "curl", "-sS", "--noproxy", "*", "--ssl-reqd", "--insecure", row.arg, row.file, row.url); err != nil {
			t.Fatalf("%s: %v\n%s", row.name, err, text)
		}
		waitUntil(t, patience, "the file "+row.name, func() error {
			if sum, n := mustSum(t, row.arrives); sum != want {
				return fmt.Errorf("%d bytes of %d, or others", n, size)
			}
			return nil
		})
	}
}

// mustRandomFile writes a file that no compression and no repetition helps.
func mustRandomFile(t *testing.T, path string, size int64) (sum [sha256.Size]byte) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		_, err = io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{7}), size))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	sum, _ = mustSum(t, path)
	return sum
}

func mustSum(t *testing.T, path string) (sum [sha256.Size]byte, n int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if n, err = io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil)), n
}

// After AUTH TLS the gateway is blind: data finds its way by the passive range
// that server and gateway share, and resumes the control connection's session.
func TestFTPOverTLS(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	if !logHas(front.Output(), "address for data refused", lab.Client6.String(), lab.Denied6.String()) {
		t.Errorf("the bounce is not in the log:\n%s", front.Output())
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
	t.Parallel()
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
