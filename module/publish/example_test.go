package publish_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/publish"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func Example() {
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	policy := &realtime.Policy{Namespaces: realtime.Globs{"/"}}
	endpoint := realtime.NewEndpoint("example", hub, func() (*realtime.Policy, func()) { return policy, func() {} })
	const key = "a-key-of-thirty-two-characters!!"
	keys, err := publish.NewKeys(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := publish.NewHandler(endpoint, publish.Options{Path: "/api/realtime", Keys: keys})

	// The application emits an event to a room.
	body := `{"to":["lobby"],"event":"news","args":["hello"]}`
	r := httptest.NewRequest(http.MethodPost, "/api/realtime/emit", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code)

	r = httptest.NewRequest(http.MethodGet, "/api/realtime/rooms", http.NoBody)
	r.Header.Set("Authorization", "Bearer another-key")
	w = httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code)
	// Output:
	// 202
	// 401
}
