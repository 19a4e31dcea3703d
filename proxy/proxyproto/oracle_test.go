package proxyproto

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"regexp"
	"testing"
)

// The readers below are slow and obvious, by the letter of proxy-protocol.txt.

var (
	slowUnknown = regexp.MustCompile(`^PROXY UNKNOWN(?: [^\n]*?)?\r\n`)
	slowLine    = regexp.MustCompile(`^PROXY (TCP[46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n`)
	slow4       = regexp.MustCompile(`^(?:(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])(?:\.|$)){4}$`)
)

// slowParse gives the words of INDEX.tsv and the length of the header.
func slowParse(b []byte) (verdict string, n int) {
	if bytes.HasPrefix(b, signature) {
		return slowV2(b)
	}
	line := b[:min(len(b), 107)]
	if m := slowUnknown.Find(line); m != nil {
		return "accept-peer", len(m)
	}
	m := slowLine.FindSubmatch(line)
	if m == nil {
		return "close", 0
	}
	for _, address := range m[2:4] {
		is4 := slow4.Match(address)
		if is4 != (string(m[1]) == "TCP4") || net.ParseIP(string(address)) == nil {
			return "close", 0
		}
	}
	for _, port := range m[4:6] {
		if len(port) == 5 && string(port) > "65535" {
			return "close", 0
		}
	}
	return slowAccept(net.ParseIP(string(m[2])), string(m[4])), len(m[0])
}

func slowAccept(ip net.IP, port any) string {
	if ip.To4() == nil {
		return fmt.Sprintf("accept [%v]:%v", ip, port)
	}
	return fmt.Sprintf("accept %v:%v", ip, port)
}

func slowV2(b []byte) (verdict string, n int) {
	if len(b) < 16 {
		return "close", 0
	}
	n = 16 + int(binary.BigEndian.Uint16(b[14:]))
	if n > len(b) || n > 16+4096 {
		return "close", 0
	}
	block := b[16:n]
	size, defined := map[byte]int{0: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}[b[13]]
	switch {
	case !defined || b[12] != 0x20 && b[12] != 0x21:
		return "close", 0
	case b[12] == 0x20 || b[13] == 0:
		return "accept-peer", n
	case len(block) < size || !slowTLVs(b[:n], 16+size, true):
		return "close", 0
	}
	switch b[13] >> 4 {
	case 1:
		return slowAccept(block[:4], binary.BigEndian.Uint16(block[8:])), n
	case 2:
		return slowAccept(block[:16], binary.BigEndian.Uint16(block[32:])), n
	}
	return "accept-peer", n
}

// slowTLVs checks what stands in the header from at on: where each TLV ends,
// and, if their types are those of §2.2, what is in them.
func slowTLVs(header []byte, at int, typed bool) bool {
	for at < len(header) {
		if len(header)-at < 3 {
			return false
		}
		from := at + 3
		end := from + int(binary.BigEndian.Uint16(header[at+1:]))
		if end > len(header) {
			return false
		}
		switch {
		case !typed:
		case header[at] == 3:
			zeroed := bytes.Clone(header)
			clear(zeroed[from:end])
			if end-from != 4 || crc32.Checksum(zeroed, crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(header[from:]) {
				return false
			}
		case header[at] == 5:
			if end-from > 128 {
				return false
			}
		case header[at] == 0x20:
			if end-from < 5 || !slowTLVs(header[:end], from+5, false) {
				return false
			}
		}
		at = end
	}
	return true
}

// checkAgainstSlow compares Parse with the slow reader.
func checkAgainstSlow(t *testing.T, b []byte) {
	t.Helper()
	want, length := slowParse(b)
	h, n, err := Parse(b)
	got := "accept " + h.Source.String()
	switch {
	case err != nil:
		got = "close"
	case h.Local:
		got = "accept-peer"
	}
	if got != want || n != length {
		t.Fatalf("%q:\n got %s, %d bytes (%v)\nwant %s, %d bytes", b, got, n, err, want, length)
	}
}

// Headers of every kind, whole and with one thing changed, as the text of the
// protocol has them.
func TestAgainstTheText(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	verdicts := map[string]int{}
	for range 20_000 {
		b := someHeader(r)
		for range r.IntN(3) {
			b = change(r, b)
		}
		checkAgainstSlow(t, append(b, "PING\r\n"...))
		verdict, _ := slowParse(b)
		verdicts[verdict[:5]]++
	}
	if len(verdicts) != 2 || verdicts["close"] < 2000 || verdicts["accep"] < 2000 {
		t.Errorf("verdicts %v say nothing", verdicts)
	}
}

// someHeader gives a header without fault.
func someHeader(r *rand.Rand) []byte {
	addresses := []string{"192.0.2.1", "255.255.255.255", "0.0.0.0", "203.0.113.7"}
	family := "TCP4"
	if r.IntN(2) == 0 {
		addresses = []string{"2001:db8::7", "::", "::ffff:192.0.2.1", "FFFF:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::FFFF:c000:201", "64:ff9b::192.0.2.1"}
		family = "TCP6"
	}
	switch r.IntN(6) {
	case 0:
		return []byte("PROXY UNKNOWN" + []string{"", " ", " junk", " ::1 ::1 1 2", "  a\rb"}[r.IntN(5)] + "\r\n")
	case 1, 2:
		any := func() string { return addresses[r.IntN(len(addresses))] }
		return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, any(), any(), r.IntN(65536), r.IntN(65536))
	}
	kind := []byte{0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32}[r.IntN(7)]
	block := make([]byte, map[byte]int{0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}[kind])
	for i := range block {
		block[i] = byte(r.Uint32())
	}
	if kind>>4 == 2 && r.IntN(3) == 0 { // mapped
		copy(block, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff")
	}
	summed := -1
	for range r.IntN(4) {
		switch r.IntN(6) {
		case 0:
			if summed < 0 {
				block = tlv(block, 3, make([]byte, 4))
				summed = 16 + len(block) - 4
			}
		case 1:
			block = tlv(block, 4, make([]byte, r.IntN(9)))
		case 2:
			block = tlv(block, 5, make([]byte, r.IntN(129)))
		case 3:
			block = tlv(block, 0x20, tlv(tlv([]byte{1, 0, 0, 0, 0}, 0x21, []byte("TLSv1.3")), 0x22, []byte("a.test")))
		case 4:
			block = tlv(block, 2, []byte("www.example.jp"))
		default:
			block = tlv(block, 0xe0+byte(r.IntN(32)), make([]byte, r.IntN(300)))
		}
	}
	header := []byte(v2([]byte{0x20, 0x21, 0x21, 0x21}[r.IntN(4)], kind, block))
	if summed >= 0 {
		binary.BigEndian.PutUint32(header[summed:], crc32.Checksum(header, crc32.MakeTable(crc32.Castagnoli)))
	}
	return header
}

// change makes a byte another one, takes one away or puts one in; best one of
// the first 20, where most of the meaning is.
func change(r *rand.Rand, b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	at := r.IntN(len(b))
	if r.IntN(2) == 0 {
		at = r.IntN(min(len(b), 20))
	}
	with := []byte{" 0:.\r\n\x00\x7f"[r.IntN(8)], byte(r.Uint32()), b[at] + 1, b[at] ^ 1}[r.IntN(4)]
	switch r.IntN(4) {
	case 0:
		return append(b[:at:at], b[at+1:]...)
	case 1:
		return append(append(b[:at:at], with), b[at:]...)
	}
	b = bytes.Clone(b)
	b[at] = with
	return b
}
