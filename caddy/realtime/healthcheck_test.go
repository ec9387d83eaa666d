package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// newServer starts a server that knows itself as example.com.
func newServer(t *testing.T, start func(*httptest.Server)) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch host, _, _ := net.SplitHostPort(r.Host); {
		case host != "example.com":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "https://example.com/health", http.StatusPermanentRedirect)
		case r.URL.Path == "/draining":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	start(server)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "example.com:" + port
}

func TestCheckHealth(t *testing.T) {
	t.Parallel()
	plain, secure := newServer(t, (*httptest.Server).Start), newServer(t, (*httptest.Server).StartTLS)
	for url, want := range map[string]string{
		"http://" + plain + "/health":   "",
		"https://" + secure + "/health": "",
		"http://" + plain + "/draining": "503",
		"http://" + plain + "/moved":    "redirect",
		"http://" + strings.Replace(plain, "example.com", "example.org", 1) + "/health": "404",
		"http://example.com:1/health": "refused",
		"not a URL":                   "unsupported protocol",
	} {
		err := checkHealth(url)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("checking %s: %v, want %q", url, err, want)
		}
	}
}

func TestHealthURL(t *testing.T) {
	t.Parallel()
	if got := healthURL("", "http://a/"); got != "http://a/" {
		t.Errorf("the environment's URL is not taken, but %s", got)
	}
	if got := healthURL("", ""); got != defaultHealthURL {
		t.Errorf("without a URL %s is asked", got)
	}
}
