package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
	"github.com/caddy-realtime/caddy-realtime/module/webhook"
)

// A backend is any HTTP service with a route for the requests. It says who a client is by
// the cookie of its own session.
func Example() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /realtime", func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("session"); err != nil || cookie.Value != "of alice" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = fmt.Fprint(w, `{"user":"alice","join":["lobby"]}`)
	})
	backend := httptest.NewServer(mux)
	defer backend.Close()

	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = hub.Close() }()
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	var queue webhook.Queue // It outlives the handlers of single configurations.
	handler := webhook.New(webhook.Options{URL: backend.URL + "/realtime", Transport: transport}, &queue)
	queue.Use(handler)
	defer queue.Leave(context.Background(), handler)

	policy := &realtime.Policy{
		Authenticators: []realtime.Authenticator{handler},
		Handlers:       []realtime.Handler{handler},
	}
	endpoint := realtime.NewEndpoint("example", hub, func() (*realtime.Policy, func()) { return policy, func() {} })

	// A protocol such as Socket.IO makes a handshake of each client.
	for _, session := range []string{"of alice", "of nobody"} {
		h := &realtime.Handshake{Endpoint: endpoint, Header: http.Header{"Cookie": {"session=\"" + session + "\""}}}
		identity, err := hub.Namespace("/").Authenticate(context.Background(), h)
		if err != nil {
			fmt.Println("refused:", err)
			continue
		}
		fmt.Println(identity.User, "joins", identity.Rooms)
		identity.Discard() // The client does not connect after all.
	}
	// Output:
	// alice joins [lobby]
	// refused: authenticating: not authorized
}
