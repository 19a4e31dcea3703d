package integration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
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
	port := mustPort(t, ask("EPSV", "229"))
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
	mustLog(t, front, "address for data refused", lab.Client6.String(), lab.Denied6.String()) // the bounce
	mustLog(t, front, lab.Denied6.String(), "not told to this client")                        // the theft
}

// Two plain forwards, of port 21 and of the passive range, are enough for most
// clients in passive mode. Where vsftpd sees all of them as the front, it cannot
// tell whose data connection is whose, and a neighbour gets another client's file;
// by the pool it can.
func TestFTPWithoutGateway(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab)
	mustWrite(t, filepath.Join(vsftpd.Dir, "root/pub/secret"), "for my eyes only\n")
	to := "[" + lab.Front6.String() + "]"
	for _, row := range []struct {
		source string
		stolen bool
	}{{"own", true}, {"pool", false}} {
		t.Run(row.source, func(t *testing.T) {
			front := w.front(t, tunnelConfig+fmt.Sprintf(`
[pool.default]
prefix = "100.64.0.0/16"

[forward.control]
listen = "tunnel:21"
to     = "%[1]s:21"
source = %[2]q

[forward.data]
listen = "tunnel:50000-50009"
to     = "%[1]s:50000-50009"
source = %[2]q
`, lab.BackendV4, row.source))
			defer stop(t, front)
			text, err := out(t, w.Client6, "curl", "-sS", "--noproxy", "*", "-m", "25", "ftp://"+to+"/pub/secret")
			if err != nil || text != "for my eyes only\n" {
				t.Errorf("%q, %v", text, err)
			}
			v := w.visit(t, lab.Client6, 21)
			v.ask("USER anonymous")
			v.ask("PASS x@")
			port := mustPort(t, v.ask("EPSV"))
			thief := w.dial(t, lab.Denied6.String(), to, port)
			fmt.Fprint(v.conn, "RETR pub/secret\r\n")
			got, _ := io.ReadAll(thief)
			if stolen := string(got) == "for my eyes only\n"; stolen != row.stolen {
				t.Errorf("the neighbour got %q", got)
			}
			thief.Close()
			v.conn.Close() // a stop waits for clients
		})
	}
}

// vsftpd sees an IPv4 client's own address, on the control connection and, in both
// modes, on those for data.
func TestFTPTransparent(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab, "xferlog_enable=YES", "xferlog_std_format=NO")
	mustWrite(t, filepath.Join(vsftpd.Dir, "root/pub/file"), "Take off your shoes.\n")
	w.front(t, strings.Replace(ftpConfig, `passive `, "source = \"transparent\"\npassive ", 1))
	for name, args := range map[string][]string{"passive": nil, "active": {"-P", "-"}} {
		text, err := out(t, w.Client4, append(append([]string{"curl", "-sS", "--noproxy", "*", "-m", "25"}, args...), "ftp://"+lab.FrontV4.String()+"/pub/file")...)
		if err != nil || text != "Take off your shoes.\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	vsftpd.WaitLog(t, "OK DOWNLOAD", "Client \""+lab.Client4.String()+"\"")
}

// What vsftpd says to commands about data, clients of both families hear with
// addresses and ports of theirs; it says nothing to an empty line.
func TestFTPOddDialogues(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab, "anon_other_write_enable=YES")
	mustWrite(t, filepath.Join(vsftpd.Dir, "root/pub/file"), "Take off your shoes.\n")
	w.front(t, ftpConfig)
	at4 := func(a netip.Addr) string { return strings.ReplaceAll(a.String(), ".", ",") }
	for from, talk := range map[netip.Addr][][2]string{
		lab.Client6: {
			{"EPSV", "530"}, {"USER anonymous", "331"}, {"PASS x@", "230"},
			{"\r\nEPSV", "229 Entering Extended Passive Mode (|||5000"}, {"EPSV 1", "229"}, {"EPSV 2", "229"}, {"EPSV 3", "522"},
			{"PASV", "227 Entering Passive Mode (0,0,0,0,195,"},
			{"EPRT |2|" + lab.Client6.String() + "|40000|", "200"}, {"EPRT |1|10.0.0.1|40000|", "522"}, {"PORT 10,0,0,1,156,64", "500"},
			{"LPRT 6,16,0", "502"}, {"AUTH TLS", "500"}, {"FEAT", "211"}, {"STAT", "211"}, {"\tPORT 10,0,0,9,0,25", "500"},
			{"EPSV ALL", "200"}, {"PASV", "550"}, {"EPRT |2|" + lab.Client6.String() + "|40000|", "200"}, {"EPSV", "229"},
		},
		lab.Client4: {
			{"USER anonymous", "331"}, {"PASS x@", "230"}, {"EPSV", "229"}, {"EPSV 2", "522"},
			{"PASV", "227 Entering Passive Mode (" + at4(lab.FrontV4) + ",195,"},
			{"PORT " + at4(lab.Client4) + ",156,64", "200"}, {"EPRT |1|" + lab.Client4.String() + "|40000|", "200"},
			{"EPRT |2|2001:db8::1|40000|", "522"}, {"PORT " + at4(lab.BackendV4) + ",0,25", "500"}, {"PORT " + at4(lab.Client4) + ",0,25", "500"},
		},
	} {
		v := w.visit(t, from, 21)
		for _, row := range talk {
			if got := v.ask(row[0]); !strings.HasPrefix(got, row[1]) {
				t.Errorf("%s: %q is answered %q, want %q", from, row[0], got, row[1])
			}
		}
	}
	for _, c := range clients[:2] {
		curl := []string{"curl", "-sS", "--noproxy", "*", "-m", "25", "--interface", c.addr}
		text, err := out(t, w.client(c.addr), append(curl, "-r", "5-7", "ftp://"+c.to+"/pub/file")...) // REST
		if err != nil || text != "off" {
			t.Errorf("%s: from byte 5 to 7: %q, %v", c.name, text, err)
		}
		file, put := filepath.Join(w.Dir, "part"), "incoming/"+c.name
		for _, part := range []string{"one", "two"} {
			mustWrite(t, file, part)
			if text, err := out(t, w.client(c.addr), append(curl, "--append", "-T", file, "ftp://"+c.to+"/"+put)...); err != nil { // APPE
				t.Errorf("%s: APPE: %v\n%s", c.name, err, text)
			}
		}
		waitUntil(t, patience, "both parts at the server", func() error {
			if data, err := os.ReadFile(filepath.Join(vsftpd.Dir, "root", put)); err != nil || string(data) != "onetwo" {
				return fmt.Errorf("%q, %v", data, err)
			}
			return nil
		})
	}
}

// An ABOR in the midst of a transfer is sent with urgent data (RFC 959 §4.1.3):
// by that, and by nothing else, vsftpd hears of it while the client takes no data.
func TestFTPUrgentAbort(t *testing.T) {
	t.Parallel()
	w := mustWorld(t)
	vsftpd := servers.StartVsftpd(t, w.Lab, "async_abor_enable=YES")
	mustRandomFile(t, filepath.Join(vsftpd.Dir, "root/pub/image"), 32<<20)
	w.front(t, ftpConfig)
	v := w.visit(t, lab.Client6, 21)
	line := func(want string) string {
		t.Helper()
		got, err := v.lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("%q, %v, want %s", got, err, want)
		}
		return got
	}
	abort := func() {
		t.Helper()
		sendUrgent(t, v.conn.(*net.TCPConn), "\xff\xf4\xff", "\xf2")
		fmt.Fprint(v.conn, "ABOR\r\n")
	}
	fmt.Fprint(v.conn, "USER anonymous\r\nPASS x@\r\n")
	line("331")
	line("230")
	abort()
	line("225") // no transfer
	fmt.Fprint(v.conn, "EPSV\r\n")
	data := w.dial(t, lab.Client6.String(), "["+lab.Front6.String()+"]", mustPort(t, line("229")))
	fmt.Fprint(v.conn, "RETR pub/image\r\n")
	line("150")
	abort()
	line("426")
	line("226")
	if n, err := io.Copy(io.Discard, data); n >= 32<<20 {
		t.Errorf("all of the file came, %v", err)
	}
	fmt.Fprint(v.conn, "EPSV\r\n")
	line("229")
}

// mustPort reads the port of a reply to EPSV.
func mustPort(t *testing.T, reply string) int {
	t.Helper()
	_, rest, _ := strings.Cut(reply, "(|||")
	number, _, _ := strings.Cut(rest, "|)")
	port, err := strconv.Atoi(number)
	if err != nil {
		t.Fatalf("no port in %q: %v", reply, err)
	}
	return port
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
