package realtime

import "unicode/utf8"

// Globs are patterns of names. "*" stands for any number of any characters, "?" for one. All other
// characters stand for themselves.
type Globs []string

// Match reports whether any of the patterns matches the whole name. No patterns match nothing.
func (g Globs) Match(name string) bool {
	for _, pattern := range g {
		if match(pattern, name) {
			return true
		}
	}
	return false
}

// match takes time in proportion to len(pattern) * len(name) at most, since names come from
// clients.
func match(pattern, name string) bool {
	p, n := 0, 0
	star, restart := -1, 0 // the last "*" seen, and where in name to try again
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, restart = p, n
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			n += width(name[n:])
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			restart += width(name[restart:])
			p, n = star+1, restart
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// width returns the length of the first character in bytes.
func width(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	return n
}
