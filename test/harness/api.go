package harness

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The keys that backends call with.
const (
	FirstKey  = "the-first-key-of-the-backend-0123456789"
	SecondKey = "the-second-key-of-the-backend-987654321"
)

// A APIClient is a backend that calls the API.
type APIClient struct {
	Server *Server
	T      *testing.T
	Key    string
	Count  int
}

// Call returns what a call is answered.
func (c *APIClient) Call(method, path, body string) Answer {
	c.T.Helper()
	c.Count++
	header := []string{"Authorization", "Bearer " + c.Key, "Content-Type", "application/json", "Idempotency-Key", fmt.Sprint(c.Key[:10], c.Count)}
	return c.Server.Request(c.T, method, "/api/realtime/"+path, body, header...)
}

// Do is call for what is answered with a status, and decodes that answer.
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

// ChangeSockets does something to sockets, and returns to how many.
func (c *APIClient) ChangeSockets(name, body string) int {
	c.T.Helper()
	var changed struct{ Sockets int }
	c.Do("POST", "sockets/"+name, body, http.StatusOK, &changed)
	return changed.Sockets
}

// Received has the clients of api.mjs tell what they have got, as JSON, by their names.
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
