package core

import "strings"

// Nearest is the known word that was probably meant by one that is not known; empty where none is near. A word that was
// not written to its end means the one that it begins.
func Nearest(typed string, known []string) string {
	const longest, most = 64, 200 // Longer words, and longer lists, come from nobody who mistyped something.
	if typed = strings.ToLower(typed); typed == "" || len(typed) > longest {
		return ""
	}
	best, least := "", len(typed)/3+2
	if len(typed) <= 3 {
		least = 2 // Of so short a word two letters make another one.
	}
	for _, word := range known[:min(len(known), most)] {
		if len(word) > longest {
			continue
		}
		d := distance(typed, strings.ToLower(word))
		if len(typed) > 1 && strings.HasPrefix(strings.ToLower(word), typed) {
			d = 0
		}
		if d < least {
			best, least = word, d
		}
	}
	return best
}

// distance is how many letters must be put in, taken out, replaced or swapped with their neighbour.
func distance(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
