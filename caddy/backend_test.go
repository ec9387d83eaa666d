package caddy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// TestBackendIdentity checks that the identities of different applications differ, and that other
// options do not change an identity.
func TestBackendIdentity(t *testing.T) {
	t.Setenv("UPSTREAM", "localhost:5000")
	handle := func(raws ...string) *Backend {
		b := &Backend{path: "/realtime"}
		for _, raw := range raws {
			b.HandleRaw = append(b.HandleRaw, json.RawMessage(raw))
		}
		return b
	}
	url := func(u string) *Backend { return &Backend{URL: u, options: webhook.Options{URL: u}} }
	const proxy = `{"handler":"subroute","routes":[{"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"a:1"},{"dial":"b:2"}]%s}]}]}`
	first := handle(fmt.Sprintf(proxy, ""))
	if other := handle(fmt.Sprintf(proxy, `,"load_balancing":{"retries":3}`)); other.identity() != first.identity() {
		t.Errorf("%q is another one than %q", other.identity(), first.identity())
	}
	all := make(map[string]bool)
	for _, b := range []*Backend{
		url("http://localhost:3000/realtime"), url("http://localhost:3001/realtime"), url("http://localhost:3000/hooks"), first,
		handle(`{"handler":"reverse_proxy","upstreams":[{"dial":"a:1"}]}`), handle(`{"handler":"reverse_proxy","upstreams":[{"dial":"{env.UPSTREAM}"}]}`),
		handle(`{"handler":"static_response"}`), handle(`{"handler":"static_response","body":"x"}`),
	} {
		if all[b.identity()] {
			t.Errorf("two are %q", b.identity())
		}
		all[b.identity()] = true
	}
	if !all["/realtime localhost:5000"] {
		t.Errorf("of {env.UPSTREAM} comes none of %v", all)
	}
}

// TestBackendPath checks which spellings of a path count as the backend's.
func TestBackendPath(t *testing.T) {
	for _, tt := range []struct {
		path, requested string
		any, post       bool // owned whatever the method is; owned by a POST
	}{
		{"/realtime", "/realtime", true, true},
		{"/realtime", "/Realtime/", true, true},
		{"/realtime", "//x/../realtime/.", true, true},
		{"/realtime", "/realtime;a=b", true, true},
		{"/realtime", "/;a/realtime", true, true},
		{"/realtime", "/x/..;a=b/realtime", true, true},
		{"/realtime", `\realtime`, true, true},
		{"/realtime", `/x\..\realtime`, true, true},
		{"/realtime", "/realtime \n", true, true},
		{"/realtime", "/realtime\x00", true, true},
		{"/realtime", "/index.php/realtime", true, true},
		{"/realtime", "/INDEX.PHP/realtime/", true, true},
		{"/app.php", "/app.php/more", true, true},
		{"/realtime", "/realtime.json", false, true},
		{"/realtime", "/realtime.", false, true},
		{"/realtime", "/realtime.js", false, true},
		{"/realtime", "/realtimes", false, false},
		{"/realtime", "/realtime/more", true, true},
		{"/realtime", "/REALTIME//more/../x", true, true},
		{"/realtime", "/x/../realtime/more", true, true},
		{"/realtime", "/realtime/more.php/x", true, true},
		{"/realtime", "/index.php/realtime/more", true, true},
		{"/realtime", "/realtime/../x", false, false},
		{"/Realtime", "/realtime/", true, true},
		{"/realtime", "/realtime-docs/more", false, false},
		{"/realtime", "/x/realtime", false, false},
		{"/realtime", "/a.php", false, false},
		{"/realtime", "/", false, false},
	} {
		b := &Backend{path: tt.path}
		for method, want := range map[string]bool{http.MethodGet: tt.any, http.MethodHead: tt.any, http.MethodPost: tt.post, http.MethodPut: tt.post} {
			r := httptest.NewRequest(method, "/", nil)
			r.URL = &url.URL{Path: tt.requested}
			if got := b.owns(r.Method, r.URL.Path); got != want {
				t.Errorf("%s %q is the backend's %s: %t", method, tt.requested, tt.path, got)
			}
		}
	}
	var none *Backend
	if (&settings{backend: none}).isBackends(httptest.NewRequest(http.MethodPost, "/realtime", nil)) {
		t.Error("without a backend it has a path")
	}
}
