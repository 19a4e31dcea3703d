package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"genkan/integration/internal/require"
	"genkan/integration/servers"
)

// An ftpClient is a real client that gets a file, and puts one where it can.
// Its commands are of a shell, which has $URL of the file, $HOST and $AT of
// the server (an IPv6 address in brackets, and bare), $REMOTE for the file's
// place there and
// $LOCAL for its place here.
type ftpClient struct {
	name, program, debian string
	get, put              string
}

const (
	curlFTP = "curl -sS --noproxy '*' -m 60 "
	lftpFTP = "lftp -c 'set net:max-retries 1; set net:timeout 60; set ftp:ssl-allow no; "
	wgetFTP = "wget -q -t 1 -T 60 --no-proxy --no-check-certificate "
	// tnftp wants a terminal for nothing but its prompts; HOME keeps it from ours.
	tnftpFTP = "HOME=/nonexistent tnftp "
	inetFTP  = "printf '%s\\n' 'user anonymous x@' binary "
	pyFTP    = "python3 $CLIENT "
)

// ftpClients are those of plain FTP, passive and active.
var ftpClients = []ftpClient{
	{"curl", "curl", "curl", curlFTP + "-o $LOCAL $URL", curlFTP + "-T $LOCAL $URL"},
	{"curl-active", "curl", "curl", curlFTP + "-P - -o $LOCAL $URL", curlFTP + "-P - -T $LOCAL $URL"},
	{"curl-pasv", "curl", "curl", curlFTP + "--disable-epsv --no-ftp-skip-pasv-ip -o $LOCAL $URL", ""},
	{"lftp", "lftp", "lftp", lftpFTP + "get '$URL' -o '$LOCAL", lftpFTP + "put '$LOCAL' -o '$URL"},
	{"lftp-active", "lftp", "lftp", lftpFTP + "set ftp:passive-mode off; get '$URL' -o '$LOCAL", lftpFTP + "set ftp:passive-mode off; put '$LOCAL' -o '$URL"},
	{"wget", "wget", "wget", wgetFTP + "-O $LOCAL $URL", ""},
	{"wget-active", "wget", "wget", wgetFTP + "--no-passive-ftp -O $LOCAL $URL", ""},
	{"tnftp", "tnftp", "tnftp", tnftpFTP + "-o $LOCAL $URL </dev/null", tnftpFTP + "-u $URL $LOCAL </dev/null"},
	{"tnftp-active", "tnftp", "tnftp", tnftpFTP + "-A -o $LOCAL $URL </dev/null", tnftpFTP + "-A -u $URL $LOCAL </dev/null"},
	{"inetutils", "inetutils-ftp", "inetutils-ftp", inetFTP + "\"get $REMOTE $LOCAL\" | inetutils-ftp -np $AT", inetFTP + "\"put $LOCAL $REMOTE\" | inetutils-ftp -np $AT"},
	{"inetutils-active", "inetutils-ftp", "inetutils-ftp", inetFTP + "\"get $REMOTE $LOCAL\" | inetutils-ftp -n $AT", inetFTP + "\"put $LOCAL $REMOTE\" | inetutils-ftp -n $AT"},
	{"ftplib", "python3", "python3", pyFTP + "get", pyFTP + "put"},
	{"ftplib-active", "python3", "python3", pyFTP + "get active", pyFTP + "put active"},
}

// ftpsClients are those that speak TLS, of explicit and implicit FTPS. curl in
// active mode is not among them: Debian's fails so with any server.
var ftpsClients = []ftpClient{
	{"curl", "curl", "curl", curlFTP + "--ssl-reqd --insecure -o $LOCAL $URL", curlFTP + "--ssl-reqd --insecure -T $LOCAL $URL"},
	// With TLS 1.2 curl takes no tickets, so it cannot resume; on port 2121 it need not.
	{"curl-1.2", "curl", "curl", curlFTP + "--tls-max 1.2 --ssl-reqd --insecure -o $LOCAL ftp://$HOST:2121/$REMOTE", curlFTP + "--tls-max 1.2 --ssl-reqd --insecure -T $LOCAL ftp://$HOST:2121/$REMOTE"},
	{"curl-implicit", "curl", "curl", curlFTP + "--insecure -o $LOCAL $(echo $URL | sed s/ftp:/ftps:/)", curlFTP + "--insecure -T $LOCAL $(echo $URL | sed s/ftp:/ftps:/)"},
	{"lftp", "lftp", "lftp", lftpFTP + lftpTLS + "get '$URL' -o '$LOCAL", lftpFTP + lftpTLS + "put '$LOCAL' -o '$URL"},
	{"lftp-active", "lftp", "lftp", lftpFTP + lftpTLS + "set ftp:passive-mode off; get '$URL' -o '$LOCAL", lftpFTP + lftpTLS + "set ftp:passive-mode off; put '$LOCAL' -o '$URL"},
	{"lftp-implicit", "lftp", "lftp", lftpFTP + lftpTLS + "get '$(echo $URL | sed s/ftp:/ftps:/)' -o '$LOCAL", lftpFTP + lftpTLS + "put '$LOCAL' -o '$(echo $URL | sed s/ftp:/ftps:/)"},
	{"wget", "wget", "wget", wgetFTP + "-O $LOCAL $(echo $URL | sed s/ftp:/ftps:/ | sed 's,/pub,:21/pub,')", ""},
	{"wget-implicit", "wget", "wget", wgetFTP + "--ftps-implicit -O $LOCAL $(echo $URL | sed s/ftp:/ftps:/)", ""},
	{"ftplib", "python3", "python3", pyFTP + "get tls", pyFTP + "put tls"},
	{"ftplib-active", "python3", "python3", pyFTP + "get tls active", pyFTP + "put tls active"},
}

const lftpTLS = "set ftp:ssl-allow yes; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-allow-anonymous yes; set ssl:verify-certificate no; "

// pythonFTP is Python's own client. As it is, it does not resume the session
// of its control connection; what servers that demand it are given is this.
const pythonFTP = `
import ftplib, os, ssl, sys
what, words = sys.argv[1], sys.argv[2:]
class Resuming(ftplib.FTP_TLS):
    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            conn = self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session)
        return conn, size
if 'tls' in words:
    context = ssl._create_unverified_context()
    ftp = Resuming(context=context)
else:
    ftp = ftplib.FTP()
ftp.connect(os.environ['AT'], timeout=60)
ftp.login()
if 'tls' in words:
    ftp.prot_p()
ftp.set_pasv('active' not in words)
with open(os.environ['LOCAL'], 'rb' if what == 'put' else 'wb') as f:
    if what == 'put':
        ftp.storbinary('STOR ' + os.environ['REMOTE'], f)
    else:
        ftp.retrbinary('RETR ' + os.environ['REMOTE'], f.write)
ftp.quit()
`

// checkFTPClients has each client get a file of vsftpd's, from both families,
// and put it there again.
func (w *world) checkFTPClients(t *testing.T, all []ftpClient, vsftpd *servers.Server) {
	t.Helper()
	file := bytes.Repeat([]byte("Take off your shoes.\n"), 20000)
	if err := os.WriteFile(filepath.Join(vsftpd.Dir, "root/pub/file"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(w.Dir, "client.py")
	mustWrite(t, script, pythonFTP)
	for _, client := range all {
		require.Program(t, client.program, client.debian)
		for _, c := range clients[:2] {
			t.Run(client.name+"-"+c.name, func(t *testing.T) {
				got := filepath.Join(t.TempDir(), "got")
				transfer := func(command, remote string) string {
					text, err := out(t, w.client(c.addr), "env", "URL=ftp://"+c.to+"/"+remote, "HOST="+c.to, "AT="+strings.Trim(c.to, "[]"),
						"REMOTE="+remote, "LOCAL="+got, "CLIENT="+script, "/bin/sh", "-c", command)
					if err != nil {
						t.Errorf("%s: %v\n%s", remote, err, text)
					}
					return text
				}
				text := transfer(client.get, "pub/file")
				if data, err := os.ReadFile(got); err != nil || sha256.Sum256(data) != sha256.Sum256(file) {
					t.Fatalf("got %d bytes of %d, %v\n%s", len(data), len(file), err, text)
				}
				if client.put == "" {
					return
				}
				put := "incoming/" + strings.ReplaceAll(t.Name(), "/", "-")
				text = transfer(client.put, put)
				waitUntil(t, patience, "the file at the server", func() error { // it may write on when the client has gone
					data, err := os.ReadFile(filepath.Join(vsftpd.Dir, "root", put))
					if err == nil && sha256.Sum256(data) != sha256.Sum256(file) {
						err = fmt.Errorf("put %d bytes of %d\n%s", len(data), len(file), text)
					}
					return err
				})
			})
		}
	}
}
