package proxy

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portHolder says which socket keeps e from being bound, as address and, where
// /proc tells, process: `[::]:80 (process 812, "nginx")`. Empty: not found.
func portHolder(e endpoint) string {
	for _, table := range []string{e.network, e.network + "6"} {
		addr, inode, ok := findHolder("/proc/net/"+table, e)
		if !ok {
			continue
		}
		if process := socketOwner(inode); process != "" {
			return fmt.Sprintf("%s (%s)", addr, process)
		}
		return addr.String()
	}
	return ""
}

// findHolder looks through a table of /proc/net for a socket that is bound
// where e wants to be. Columns: slot, local address, remote address, state, …,
// inode as the tenth.
func findHolder(path string, e endpoint) (addr netip.AddrPort, inode string, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return netip.AddrPort{}, "", false
	}
	defer file.Close()
	const listening, unconnected = "0A", "07"
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != listening && fields[3] != unconnected {
			continue
		}
		addr, ok := parseProcAddr(fields[1])
		if ok && addr.Port() == e.addr.Port() && overlaps(addr.Addr(), e.addr.Addr()) {
			return addr, fields[9], true
		}
	}
	return netip.AddrPort{}, "", false
}

// overlaps tells whether two bound addresses exclude each other. [::] may be a
// dual-stack socket, which takes IPv4 too; /proc does not tell.
func overlaps(a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	if a.Is4() != b.Is4() {
		return a == netip.IPv6Unspecified()
	}
	return a == b.WithZone("") || a.IsUnspecified() || b.IsUnspecified()
}

// parseProcAddr reads "0100007F:0050": 32-bit words in host order, then the port.
func parseProcAddr(text string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr, uint16(n)), ok && err == nil
}

// socketOwner finds the process that has the socket open: `process 812, "nginx"`.
func socketOwner(inode string) string {
	want := "socket:[" + inode + "]"
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != want {
			continue
		}
		pid := strings.Split(link, "/")[2]
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		return fmt.Sprintf("process %s, %q", pid, strings.TrimSpace(string(name)))
	}
	return ""
}
