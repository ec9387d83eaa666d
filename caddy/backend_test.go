package caddy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// TestBackendPath: from outside nobody reaches the backend's path, however it is
// written; what is not that path is the application's.
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
