package caddy

import "fmt"

// didYouMean returns a part of an error: which of the words that there are an unknown one may stand
// for, or "" if none is like it.
func didYouMean(unknown string, words []string) string {
	best, least := "", 1+min(2, len(unknown)/3) // one mistake in three letters, two at most
	for _, word := range words {
		if n := distance(unknown, word); n < least {
			best, least = word, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}

// distance returns how many letters have to be inserted, left out, replaced or swapped with the
// next one to make one word of another (the optimal string alignment distance).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64 // it is no name of an option
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
