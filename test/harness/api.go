package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// FirstKey and SecondKey are keys of the HTTP API.
const (
	FirstKey  = "the-first-key-of-the-backend-0123456789"
	SecondKey = "the-second-key-of-the-backend-987654321"
)

// An APIClient is a backend that calls the HTTP API of a server.
type APIClient struct {
	Server *Server
	T      *testing.T
	Key    string

	last string // the Idempotency-Key of the last request
}

// lastRequest numbers the requests of all clients.
var lastRequest atomic.Int64

// Call sends a request and returns the answer. Each request has an Idempotency-Key of
// its own.
func (c *APIClient) Call(method, path, body string) Answer {
	c.T.Helper()
	c.last = fmt.Sprint("request-", lastRequest.Add(1))
	return c.CallAgain(method, path, body)
}

// CallAgain sends a request with the Idempotency-Key of the last one.
func (c *APIClient) CallAgain(method, path, body string) Answer {
	c.T.Helper()
	return c.Server.Request(c.T, method, "/api/realtime/"+path, body,
		"Authorization", "Bearer "+c.Key, "Content-Type", "application/json", "Idempotency-Key", c.last)
}

// Do sends a request that must be answered with a status, and decodes the answer into
// value, unless value is nil.
func (c *APIClient) Do(method, path, body string, status int, value any) {
	c.T.Helper()
	a := c.Call(method, path, body)
	if a.Status != status {
		c.T.Fatalf("%s %s %s: %d %s", method, path, body, a.Status, a.Body)
	}
	if value != nil {
		if err := json.Unmarshal([]byte(a.Body), value); err != nil {
			c.T.Fatalf("%s %s: %s: %v", method, path, a.Body, err)
		}
	}
}

// ChangeSockets posts to sockets/name and returns how many sockets have changed.
func (c *APIClient) ChangeSockets(name, body string) int {
	c.T.Helper()
	var changed struct{ Sockets int }
	c.Do("POST", "sockets/"+name, body, http.StatusOK, &changed)
	return changed.Sockets
}

// Received returns what the clients of clients/api.mjs have received since the last
// call, as JSON, by their names. Each of names is the name of one client, of one
// letter.
func (c *APIClient) Received(n *Program, names string) map[string]string {
	c.T.Helper()
	c.Do("POST", "batch", `{"commands":[{"emit":{"event":"fence","everyone":true}},{"emit":{"namespace":"/tenant-1","event":"fence","everyone":true}}]}`, http.StatusOK, nil)
	var words []string
	for _, name := range names {
		words = append(words, "got "+string(name))
	}
	all := make(map[string]string)
	for name, data := range n.ExpectAll(words...) {
		if string(data) != "[]" {
			all[strings.TrimPrefix(name, "got ")] = string(data)
		}
	}
	return all
}
