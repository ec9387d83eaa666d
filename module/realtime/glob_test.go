package realtime_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestGlobs(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"a", "/"}},
		{"/", []string{"/"}, []string{"", "//", "/a", "a"}},
		{"*", []string{"", "a", "/", "a/b", "ä", "\x00", "a\nb"}, nil},
		{"**", []string{"", "a", "ab"}, nil},
		{"?", []string{"a", "*", "?", "/", "\n"}, []string{"", "ab"}},
		{"?*", []string{"a", "ab"}, []string{""}},
		{"*?", []string{"a", "ab"}, []string{""}},
		{"a*", []string{"a", "ab", "a/b", "a*"}, []string{"", "ba", "A"}},
		{"*a", []string{"a", "ba", "aa"}, []string{"", "ab"}},
		{"a*b", []string{"ab", "axb", "aab", "abb", "a\nb"}, []string{"a", "b", "aba", "ba"}},
		{"*a*", []string{"a", "bab"}, []string{"", "b"}},
		{"/tenant-*", []string{"/tenant-", "/tenant-1", "/tenant-1/x"}, []string{"/tenant", "/Tenant-1", "x/tenant-1"}},
		{"room:*:chat", []string{"room::chat", "room:1:chat", "room:1:chat:chat"}, []string{"room:chat", "room:1:chats"}},
		{"a?c*e", []string{"abce", "abcde", "abcee"}, []string{"ace", "abcd", "abced"}},
		// No other character is special.
		{"[a-z]", []string{"[a-z]"}, []string{"a"}},
		{`\*`, []string{`\`, `\x`}, []string{"*"}},
		{"a.c", []string{"a.c"}, []string{"abc"}},
		{"{a,b}", []string{"{a,b}"}, []string{"a"}},
		{"ä*", []string{"ä", "äö"}, []string{"a", "\xc3"}},
	}
	for _, test := range tests {
		for _, name := range test.yes {
			if !(realtime.Globs{test.pattern}).Match(name) {
				t.Errorf("%q does not match %q", test.pattern, name)
			}
		}
		for _, name := range test.no {
			if (realtime.Globs{test.pattern}).Match(name) {
				t.Errorf("%q matches %q", test.pattern, name)
			}
		}
	}
	for _, none := range []realtime.Globs{nil, {}} {
		if none.Match("") || none.Match("a") {
			t.Error("no patterns match something")
		}
	}
	if globs := (realtime.Globs{"a", "b*"}); !globs.Match("a") || !globs.Match("bc") || globs.Match("c") {
		t.Error("one of several patterns does not count")
	}
}

// The matcher gets patterns that take naive matchers exponential time.
func TestGlobTime(t *testing.T) {
	start := time.Now()
	for _, pattern := range []string{strings.Repeat("*a", 200) + "b", strings.Repeat("*", 2000) + "b", strings.Repeat("a*", 200) + "?b", strings.Repeat("*?", 500) + "b", "*" + strings.Repeat("a", 500) + "b"} {
		if (realtime.Globs{pattern}).Match(strings.Repeat("a", 20_000)) {
			t.Errorf("%.20q… matches", pattern)
		}
	}
	// Each takes ten million steps at most. A backtracking matcher would never finish.
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("took %v", took)
	}
}

// FuzzGlob compares the matcher with a simple one.
func FuzzGlob(f *testing.F) {
	for _, sample := range [][2]string{
		{"", ""}, {"*", ""}, {"a*b", "aXb"}, {"a**?b", "aXb"}, {"*a*b*", "xxaxxbxx"}, {"?", "ä"}, {"*?", "ä"}, {"*ab", "aab"}, {"\xff?", "\xff\xfe"},
	} {
		f.Add(sample[0], sample[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 100 || len(name) > 100 {
			return
		}
		if !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			realtime.Globs{pattern}.Match(name) // must not panic; such names do not occur
			return
		}
		if got, want := (realtime.Globs{pattern}).Match(name), globReference([]rune(pattern), []rune(name)); got != want {
			t.Errorf("Globs{%q}.Match(%q) = %v", pattern, name, got)
		}
	})
}

// globReference fills a table that says for each position whether the rest of the pattern matches
// the rest of the name.
func globReference(pattern, name []rune) bool {
	rest := make([]bool, len(name)+1)
	rest[len(name)] = true
	for _, character := range slices.Backward(pattern) {
		next := make([]bool, len(name)+1)
		for n := len(name); n >= 0; n-- {
			switch {
			case character == '*':
				next[n] = rest[n] || n < len(name) && next[n+1]
			case n < len(name) && (character == '?' || character == name[n]):
				next[n] = rest[n+1]
			}
		}
		rest = next
	}
	return rest[0]
}

// "?" matches a character of several bytes.
func TestGlobQuestionMark(t *testing.T) {
	for pattern, names := range map[string][]string{"?": {"ä", "語", "🙂"}, "??": {"äö"}, "a?c": {"aäc"}, "*?": {"ä"}} {
		for _, name := range names {
			if !(realtime.Globs{pattern}).Match(name) {
				t.Errorf("%q does not match %q", pattern, name)
			}
		}
	}
	for pattern, name := range map[string]string{"??": "ä", "*??": "ä", "????": "🙂"} {
		if (realtime.Globs{pattern}).Match(name) {
			t.Errorf("%q matches %q", pattern, name)
		}
	}
}
