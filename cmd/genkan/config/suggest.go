package config

import (
	"sort"
	"strconv"
	"strings"
)

// shown bounds how much of a stranger's text an error repeats.
const shown = 80

// quote gives text as %q, cut to a length that fits a line.
func quote(s string) string { return strconv.Quote(cut(s)) }

// cut bounds a text that an error repeats.
func cut(s string) string {
	if len(s) <= shown {
		return s
	}
	return strings.ToValidUTF8(s[:shown], "") + "…"
}

// DidYouMean returns the word nearest to what was written, "" where none is near: at most a
// third of the letters may differ, and one always may.
func DidYouMean(written string, words []string) string {
	if len(written) > shown {
		return ""
	}
	best, bestDistance := "", 1+max(1, len(written)/3)
	for _, w := range words {
		if d := distance(strings.ToLower(written), w); d < bestDistance {
			best, bestDistance = w, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and exchanges of one byte, with a swap of two
// neighbours counted as one.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// oneOf lists words for an error: `"a", "b" or "c"`, sorted.
func oneOf(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	sort.Strings(quoted)
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}
