package handshake

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unique"
	"unsafe"
)

func opened(t *testing.T, r *http.Request) *Handshake {
	t.Helper()
	h, ok := New(r, "http://example.com", Options{
		MaxBytes: 10_000,
		Headers:  []string{"User-Agent", "Cookie"},
		Values:   func(*http.Request) map[string]string { return map[string]string{"{x}": "y"} },
		ClientIP: func(r *http.Request) string { return r.RemoteAddr },
	})
	if !ok {
		t.Fatal("too large")
	}
	return &h
}

// TestFields: headers and other values are kept apart.
func TestFields(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/path", nil)
	r.Header["User-Agent"] = []string{"browser"}
	r.Header["Cookie"] = []string{"a=1", "b=2"}
	h := opened(t, r)
	if got := h.Header(); !maps.EqualFunc(got, r.Header, slices.Equal) {
		t.Errorf("headers %v, want %v", got, r.Header)
	}
	if got := h.Values(); len(got) != 1 || got["{x}"] != "y" {
		t.Errorf("values %v", got)
	}
	if h.Get("cookie") != "a=1" || h.Get("{x}") != "" {
		t.Errorf("got %q and %q", h.Get("cookie"), h.Get("{x}"))
	}
}

// TestShared: connections share equal text, and hold no request in memory by it.
func TestShared(t *testing.T) {
	for _, text := range []string{"browser", "/path", "example.com", "http://example.com"} {
		defer runtime.KeepAlive(unique.Make(text)) // or a garbage collection between could forget it
	}
	handshake := func() (h *Handshake, agent string) {
		agent = strings.Clone("browser")
		r := httptest.NewRequest(http.MethodGet, "/path", nil)
		r.Header.Set("User-Agent", agent)
		return opened(t, r), agent
	}
	a, sent := handshake()
	b, _ := handshake()
	for what, pair := range map[string][2]string{
		"host":       {a.Host, b.Host},
		"path":       {a.Path, b.Path},
		"origin":     {a.Origin, b.Origin},
		"user agent": {a.Get("User-Agent"), b.Get("User-Agent")},
	} {
		if pair[0] != pair[1] || unsafe.StringData(pair[0]) != unsafe.StringData(pair[1]) {
			t.Errorf("%s: %q and %q are not the same", what, pair[0], pair[1])
		}
	}
	if unsafe.StringData(a.Get("User-Agent")) == unsafe.StringData(sent) {
		t.Error("a header is the request's own")
	}
}

// TestSize: all that is kept counts, and nothing else.
func TestSize(t *testing.T) {
	names := []string{"Cookie", "Authorization"}
	request := func(target, name, value string, times int) int {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		for range times {
			r.Header.Add(name, value)
		}
		return size(r, names, nil)
	}
	long := strings.Repeat("x", 10_000)
	least := request("/", "Accept", "*/*", 1)
	if least > 500 {
		t.Errorf("a small request has %d bytes", least)
	}
	for name, got := range map[string]int{
		"a path":              request("/"+long, "Accept", "", 0),
		"a query":             request("/?"+long, "Accept", "", 0),
		"a host":              request("http://"+long+"/", "Accept", "", 0),
		"a cookie":            request("/", "Cookie", long, 1),
		"an origin":           request("/", "Origin", long, 1),
		"many cookies":        request("/", "Cookie", "x", 200),
		"many parameters":     request("/?"+strings.Repeat("a&", 200), "Accept", "", 0),
		"values":              size(httptest.NewRequest(http.MethodGet, "/", nil), nil, map[string]string{"{x}": long}),
		"a cookie as another": request("/", "authorization", long, 1),
	} {
		if got < 10_000 {
			t.Errorf("%s: %d bytes", name, got)
		}
	}
	if got := request("/", "Accept", long, 10); got != least {
		t.Errorf("what is not kept counts %d bytes, and nothing %d", got, least)
	}
}
