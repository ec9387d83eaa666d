package caddy

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestNoSniff checks that browsers must not guess the content type of any answer.
func TestNoSniff(t *testing.T) {
	port := testcaddy.FreePort(t)
	load(t, fmt.Sprintf(`http://127.0.0.1:%d {
	realtime {
		websocket /ws
		api /api {
			key 0123456789abcdef0123456789abcdef
		}
		backend http://127.0.0.1:1/realtime {
			secret whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
		}
	}
	respond next
}`, port))
	for _, test := range []struct {
		method, target string
		status         int
		want           string
	}{
		{http.MethodGet, "/socket.io/?EIO=4&transport=polling", 200, "nosniff"},
		{http.MethodGet, "/socket.io/?EIO=4", 400, "nosniff"},
		{http.MethodPost, "/socket.io/?EIO=4&transport=polling", 400, "nosniff"},
		{http.MethodGet, "/socket.io/socket.io.js", 400, "nosniff"},
		{http.MethodGet, "/health/realtime", 200, "nosniff"},
		{http.MethodPost, "/health/realtime", 405, "nosniff"},
		{http.MethodGet, "/ws", 426, "nosniff"},
		{http.MethodPost, "/api/emit", 401, "nosniff"},
		{http.MethodGet, "/realtime", 404, "nosniff"},
		{http.MethodGet, "/", 200, ""}, // the next handler's
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, fmt.Sprintf("http://127.0.0.1:%d%s", port, test.target), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := response.Header.Get("X-Content-Type-Options"); response.StatusCode != test.status || got != test.want {
			t.Errorf("%s %s: %d, X-Content-Type-Options %q; want %d, %q", test.method, test.target, response.StatusCode, got, test.status, test.want)
		}
	}
}
