package wsconn

import "unicode/utf8"

// A textChecker checks that text is UTF-8. The text comes in pieces, which may end within
// a character. The zero value awaits the first piece.
type textChecker struct {
	begun [utf8.UTFMax]byte // the bytes of a character that is not complete
	n     int               // how many there are
}

// check reports whether the text can be UTF-8 with the next piece.
func (c *textChecker) check(piece []byte) bool {
	for c.n > 0 && len(piece) > 0 {
		c.begun[c.n] = piece[0]
		c.n++
		piece = piece[1:]
		if utf8.FullRune(c.begun[:c.n]) { // which also says so of what cannot become one
			if !utf8.Valid(c.begun[:c.n]) {
				return false
			}
			c.n = 0
		}
	}
	whole := len(piece) - unfinished(piece)
	c.n += copy(c.begun[c.n:], piece[whole:])
	return utf8.Valid(piece[:whole])
}

// unfinished reports whether the text ends within a character.
func (c *textChecker) unfinished() bool { return c.n > 0 }

// unfinished returns how many bytes at the end of text begin a character that is
// not complete.
func unfinished(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		last := text[len(text)-n:]
		if utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}
