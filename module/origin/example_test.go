package origin_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/caddy-realtime/caddy-realtime/module/origin"
)

// Every request is checked, a WebSocket's as well as a poll, and only one that
// passed goes further.
func Example() {
	policy, err := origin.New("https://app.example.com", "https://*.example.org", "http://localhost:*")
	if err != nil {
		log.Fatal(err)
	}
	endpoint := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := policy.Check(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		if r.Method == http.MethodOptions {
			policy.Preflight(w, r)
			return
		}
		policy.SetHeaders(w.Header(), r)
		_, _ = io.WriteString(w, "hello")
	})

	for _, page := range []string{"https://app.example.com", "https://app.example.com.evil.test"} {
		r := httptest.NewRequest(http.MethodGet, "https://rt.example.com/socket.io/", nil)
		r.Header.Set("Origin", page)
		w := httptest.NewRecorder()
		endpoint.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("Access-Control-Allow-Origin"), w.Body)
	}
	// Output:
	// 200 https://app.example.com hello
	// 403  origin "https://app.example.com.evil.test" is forbidden: neither this site nor listed; this site is https://rt.example.com, and listed are https://app.example.com https://*.example.org http://localhost:*; to let it in, write origins https://app.example.com https://*.example.org http://localhost:* https://app.example.com.evil.test
}

func ExampleNew() {
	_, err := origin.New("wss://app.example.com/socket.io/")
	fmt.Println(err)

	policy, err := origin.New("strict", "HTTPS://Bücher.Example:443", "http://172.16.0.0/12:*")
	fmt.Println(policy, err)
	// Output:
	// origins "wss://app.example.com/socket.io/": an origin has the scheme of the page, not of the WebSocket; write https://app.example.com
	// strict https://xn--bcher-kva.example http://172.16.0.0/12:* <nil>
}
