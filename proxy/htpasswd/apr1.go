package htpasswd

import (
	"crypto/md5"
	"strings"
)

// apr1 is Apache's iterated MD5 (apr_md5_encode): "$apr1$" SALT "$" 22 letters.
func apr1(password, salt string) string {
	salt = salt[:min(len(salt), 8)]
	inner := md5.Sum([]byte(password + salt + password))
	text := password + "$apr1$" + salt
	for n := len(password); n > 0; n -= md5.Size {
		text += string(inner[:min(n, md5.Size)])
	}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			text += "\x00"
		} else {
			text += password[:1]
		}
	}
	sum := md5.Sum([]byte(text))
	for round := range 1000 {
		var b strings.Builder
		first, last := string(sum[:]), password
		if round&1 == 1 {
			first, last = last, first
		}
		b.WriteString(first)
		if round%3 != 0 {
			b.WriteString(salt)
		}
		if round%7 != 0 {
			b.WriteString(password)
		}
		b.WriteString(last)
		sum = md5.Sum([]byte(b.String()))
	}
	return "$apr1$" + salt + "$" + letters(sum)
}

// letters spells a sum in crypt(3)'s base 64, in apr1's order.
func letters(sum [md5.Size]byte) string {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b strings.Builder
	put := func(v uint32, n int) {
		for range n {
			b.WriteByte(alphabet[v&63])
			v >>= 6
		}
	}
	for _, i := range [][3]int{{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}} {
		put(uint32(sum[i[0]])<<16|uint32(sum[i[1]])<<8|uint32(sum[i[2]]), 4)
	}
	put(uint32(sum[11]), 2)
	return b.String()
}
