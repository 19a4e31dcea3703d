package acl

import (
	"slices"
	"strings"
)

// nearest returns the known word that w is probably a slip of, or "": at most
// two letters differ, and less than half of them.
func nearest(w string, known []string) string {
	slices.Sort(known)
	best, bestDistance := "", 3
	for _, k := range known {
		if d := distance(strings.ToLower(w), strings.ToLower(k)); d < bestDistance && 2*d < len(k) {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is Levenshtein's, by the textbook; words are short.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
