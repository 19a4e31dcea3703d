package integration

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"genkan/integration/internal/require"
)

// TestPackages: the same sources make the same packages, wherever they lie;
// what is in them works in a Debian of its own, and goes without a trace.
func TestPackages(t *testing.T) {
	require.Root(t)
	require.Program(t, "rpm", "rpm")
	first, second := mustPackage(t), mustPackage(t)
	if len(first) != 2 {
		t.Fatalf("%d packages, want a .deb and a .rpm", len(first))
	}
	for i := range first {
		if sumOf(t, first[i]) != sumOf(t, second[i]) {
			t.Errorf("%s differs from the second one", filepath.Base(first[i]))
		}
	}
	t.Run("rpm", func(t *testing.T) { checkRPM(t, first[0]) })
	t.Run("deb", func(t *testing.T) { checkDeb(t, first[1]) })
}

// mustPackage copies the sources elsewhere and makes the packages there.
func mustPackage(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"cmd", "proxy", "tunnel", "acl", "integration", "go.mod", "go.sum", "LICENSE"} {
		if out, err := exec.Command("cp", "-r", "../"+name, dir).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	for _, script := range []string{"build.sh", "package.sh"} {
		cmd := exec.Command("cmd/genkan/dist/" + script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	packages, err := filepath.Glob(filepath.Join(dir, "dist/*"))
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func sumOf(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func checkRPM(t *testing.T, file string) {
	out, err := exec.Command("rpm", "-qpl", file).CombinedOutput()
	if err != nil {
		t.Fatalf("rpm: %v: %s", err, out)
	}
	for _, want := range []string{"/usr/sbin/genkan", "/usr/lib/systemd/system/genkan.service", "/usr/share/man/man8/genkan.8.gz"} {
		if !slices.Contains(strings.Fields(string(out)), want) {
			t.Errorf("the .rpm has no %s", want)
		}
	}
}

func checkDeb(t *testing.T, file string) {
	root := mustChroot(t)
	before := listing(t, root)
	if out, err := exec.Command("cp", file, filepath.Join(root, "genkan.deb")).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	inChroot(t, root, "dpkg -i /genkan.deb && rm /genkan.deb")
	if out := inChroot(t, root, "getent group genkan; genkan version; genkan check -c /usr/share/doc/genkan/examples/genkan.toml"); !strings.Contains(out, "genkan:x:") {
		t.Errorf("once installed:\n%s", out)
	}
	checkParts(t, root)
	startInChroot(t, root)

	inChroot(t, root, "dpkg --purge genkan")
	left := listing(t, root)
	for _, path := range left {
		if !slices.Contains(before, path) && strings.Contains(path, "genkan") {
			t.Errorf("after the purge there is %s", path)
		}
	}
}

// checkParts: the list of parts names what the program itself was made of.
func checkParts(t *testing.T, root string) {
	t.Helper()
	var bom struct {
		Components []struct{ Name, Version string }
	}
	b, err := os.ReadFile(filepath.Join(root, "usr/share/doc/genkan/sbom.cdx.json"))
	if err == nil {
		err = json.Unmarshal(b, &bom)
	}
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Split(strings.TrimSpace(inChroot(t, root, "genkan version --modules | tail -n +2")), "\n")
	if len(bom.Components) != len(modules)+1 { // and Go's own library
		t.Errorf("%d parts of %d modules and std", len(bom.Components), len(modules))
	}
	for i, c := range bom.Components[1:] {
		if got := c.Name + " " + c.Version; got != modules[i] {
			t.Errorf("part %q, want %q", got, modules[i])
		}
	}
}

// startInChroot runs the installed daemon as systemd would, with a socket that
// is open already, until it says that it is ready; and ends it.
func startInChroot(t *testing.T, root string) {
	t.Helper()
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(root, "run/notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	listener, err := plain.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(root, "srv/front.toml"),
		"[site.hello]\nhosts = \"default\"\nlisten = \""+listener.Addr().String()+"\"\nbody = \"hello\"\n")
	cmd := exec.Command("unshare", "--mount", "sh", "-ec", `mount -t proc proc "$0/proc"
		LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=/run/notify exec chroot "$0" genkan run -c /srv/front.toml`, root)
	cmd.ExtraFiles = []*os.File{socket}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(unix.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the daemon: %v\n%s", err, said.String())
		}
	}()
	socket.Close()
	listener.Close()
	buf := make([]byte, 4096)
	ready.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		n, err := ready.Read(buf)
		if err != nil {
			t.Errorf("not ready: %v", err)
			return
		}
		if slices.Contains(strings.Split(string(buf[:n]), "\n"), "READY=1") {
			break
		}
	}
	resp, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
}

func mustChroot(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(cache, "genkan/chroot.tar")
	require.File(t, archive, "integration/chroot.sh makes it")
	root := t.TempDir()
	if out, err := exec.Command("tar", "-C", root, "-xf", archive).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return root
}

// inChroot runs a shell script in the small Debian, in a mount namespace of
// its own, and returns what it says.
func inChroot(t *testing.T, root, script string) string {
	t.Helper()
	cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t proc proc "$0/proc" && exec chroot "$0" sh -ec "$1"`, root, script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

func listing(t *testing.T, root string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, strings.TrimPrefix(path, root))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
