package caddy

import "testing"

func TestDidYouMean(t *testing.T) {
	words := []string{"origins", "ping", "hub", "handler", "handover", "websocket", "health"}
	for unknown, want := range map[string]string{
		"origin":     " (did you mean origins?)",
		"orgins":     " (did you mean origins?)",
		"oirgins":    " (did you mean origins?)",
		"Ping":       " (did you mean ping?)",
		"pign":       " (did you mean ping?)",
		"hubs":       " (did you mean hub?)",
		"handlers":   " (did you mean handler?)",
		"web_socket": " (did you mean websocket?)",
		"helth":      " (did you mean health?)",
		"":           "",
		"x":          "",
		"transport":  "",
		"cors":       "",
	} {
		if got := didYouMean(unknown, words); got != want {
			t.Errorf("%q: %q, want %q", unknown, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		if got, back := distance(test.a, test.b), distance(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("%q and %q: %d and %d, want %d", test.a, test.b, got, back, test.want)
		}
	}
}
