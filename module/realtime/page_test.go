package realtime

import (
	"strings"
	"testing"
)

// Whatever an entry is called, its position is found again.
func FuzzCursor(f *testing.F) {
	f.Add("a", "/")
	f.Add("", "\x00é\"")
	f.Fuzz(func(t *testing.T, first, second string) {
		p := position{strings.ToValidUTF8(first, "?"), strings.ToValidUTF8(second, "?")}
		if got, err := parseCursor(p.cursor()); err != nil || got != p {
			t.Errorf("%q became %q: %v", p, got, err)
		}
		_, _ = parseCursor(first)
	})
}
