package wsconn

import (
	"slices"
	"testing"
	"unicode/utf8"
)

// firstBad returns where text cannot be UTF-8 any more, whatever follows; len(text)
// if it can.
func firstBad(text []byte) int {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			end := i + 1
			for end <= len(text) && !utf8.FullRune(text[i:end]) {
				end++
			}
			return min(end-1, len(text))
		}
		i += size
	}
	return len(text)
}

// FuzzText: a text is refused at its first bad byte, however it is cut.
func FuzzText(f *testing.F) {
	for _, text := range []string{
		"", "plain", "κόσμε", "日本語", "😀", "\x80", "a\xff", "\xf4\x90\x80\x80", "κόσμε\xed\xa0\x80edited",
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xce", "\xe6\x97", "\xf0\x9f\x98", "\xf0\x9f\x98x",
	} {
		f.Add([]byte(text), uint8(1))
		f.Add([]byte(text), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		var c textChecker
		read := 0
		for piece := range slices.Chunk(text, max(1, int(size))) {
			bad := firstBad(text[:read+len(piece)])
			if got, want := c.check(piece), bad == read+len(piece); got != want {
				t.Fatalf("%q, of which %d bytes are read in pieces of %d, can be UTF-8: %v", text, read+len(piece), size, got)
			} else if !got {
				return
			}
			read += len(piece)
		}
		if got, want := !c.unfinished(), utf8.Valid(text); got != want {
			t.Errorf("%q is UTF-8: %v", text, got)
		}
	})
}
