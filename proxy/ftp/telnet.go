package ftp

import (
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// Bytes of Telnet (RFC 854), over which FTP's control connection runs.
const (
	telnetSE   = 0xf0 // the first of its commands
	telnetDM   = 0xf2
	telnetIP   = 0xf4
	telnetWILL = 0xfb // this and the next three have a byte behind
	telnetDONT = 0xfe
	telnetIAC  = 0xff

	// synch interrupts: clients put it before ABOR (RFC 959 §4.1.3), and
	// have its third byte be urgent data, by which the server is told in the
	// midst of a transfer.
	synch = "\xff\xf4\xff\xf2"
)

// withoutTelnet takes Telnet's commands out of a line: some servers pass over
// them, and would find "PORT" in "PO\xff\xf1RT". Any other byte 0xff is one of
// a name. interrupts tells that there was an Interrupt Process.
func withoutTelnet(line string) (text string, interrupts bool) {
	if strings.IndexByte(line, telnetIAC) < 0 {
		return line, false
	}
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] != telnetIAC || i+1 == len(line) || line[i+1] < telnetSE {
			b.WriteByte(line[i])
			continue
		}
		i++
		switch command := line[i]; {
		case command == telnetIAC: // a byte 0xff, doubled
			b.WriteString("\xff\xff")
		case command >= telnetWILL && command <= telnetDONT && i+1 < len(line) && line[i+1] != '\r' && line[i+1] != '\n':
			i++
		case command == telnetIP:
			interrupts = true
		}
	}
	return b.String(), interrupts
}

// sendUrgent writes the beginning of a line that interrupts a server.
func sendUrgent(to net.Conn, line string) (rest string, err error) {
	tcp, ok := to.(*net.TCPConn)
	if !ok {
		return line, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return line, err
	}
	if werr := raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), []byte(line[:3]), unix.MSG_OOB|unix.MSG_NOSIGNAL, nil)
		return err != unix.EAGAIN
	}); werr != nil {
		return line, werr
	}
	return line[3:], err
}
