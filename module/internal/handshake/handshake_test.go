package handshake

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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
