package xconnect_test // a test within the package would change when it is initialized

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	_ "github.com/caddy-realtime/caddy-realtime/caddy/xconnect"
)

// TestSetting starts processes with different values of GODEBUG. In each, the package must set its
// value before net/http reads it, and must keep the other settings.
func TestSetting(t *testing.T) {
	const child = "XCONNECT_TEST_WANT"
	if want := os.Getenv(child); want != "" {
		if got := os.Getenv("GODEBUG"); got != want {
			t.Errorf("GODEBUG has become %q", got)
		}
		if offered := offers(t); offered != strings.Contains(want, "http2xconnect=1") {
			t.Errorf("WebSockets over HTTP/2 are offered: %v", offered)
		}
		return
	}
	for debug, want := range map[string]string{
		"":                              "http2xconnect=1",
		"http2client=1":                 "http2client=1,http2xconnect=1",
		"http2xconnect=0":               "http2xconnect=0",
		"http2client=1,http2xconnect=1": "http2client=1,http2xconnect=1",
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSetting$")
		cmd.Env = append(os.Environ(), child+"="+want, "GODEBUG="+debug)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("with %q: %v\n%s", debug, err, output)
		}
	}
}

// offers reports whether a server of this process offers WebSockets over HTTP/2.
//
//nolint:staticcheck // http.Transport refuses the header :protocol; only http2.Transport sends it
func offers(t *testing.T) bool {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	//nolint:staticcheck // net/http's transport refuses the header field :protocol of RFC 8441
	client := &http2.Transport{TLSClientConfig: s.Client().Transport.(*http.Transport).TLSClientConfig}
	defer client.CloseIdleConnections() //nolint:staticcheck // of the same transport
	r, err := http.NewRequest(http.MethodConnect, s.URL, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	r.Header[":protocol"] = []string{"websocket"}
	response, err := client.RoundTrip(r) //nolint:staticcheck // of the same transport
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}
