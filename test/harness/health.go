package harness

import (
	"encoding/json"
	"net/http"
	"regexp"
	"time"
)

// Health is what the verbose health route answers.
type Health struct {
	WebSocket struct {
		Enabled     bool
		Connections int
	}
	Sockets    int
	Rooms      int
	Transports map[string]int
	Draining   bool
	Connected  bool `json:"broker_connected"`
}

// Health asks the health route.
func (s *Server) Health() Health {
	s.t.Helper()
	response, err := s.HTTP.Get(s.URL() + "/health/realtime?verbose=1")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var h Health
	if err := json.NewDecoder(response.Body).Decode(&h); err != nil {
		s.t.Fatalf("health: status %d: %v", response.StatusCode, err)
	}
	return h
}

// WaitHealth asks the health route until ok accepts the answer. what describes that
// answer in the message of a test that fails.
func (s *Server) WaitHealth(what string, ok func(Health) bool) {
	s.t.Helper()
	deadline := time.Now().Add(Timeout)
	for {
		h := s.Health()
		if ok(h) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the health is not %s: %+v", what, h)
		}
		time.Sleep(20 * time.Millisecond) // no event says when to ask again
	}
}

// WaitIdle waits until no client is connected and no goroutine of a connection is left.
func (s *Server) WaitIdle() {
	s.t.Helper()
	s.WaitHealth("empty", func(h Health) bool { return h.WebSocket.Connections == 0 && h.Sockets == 0 && h.Rooms == 0 })
	deadline := time.Now().Add(Timeout)
	for {
		_, stacks := s.AskAdmin(http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
		if !connectionFunctions.MatchString(stacks) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("nobody is connected, and yet this runs:\n%s", stacks)
		}
		time.Sleep(20 * time.Millisecond) // no event says when to ask again
	}
}

// connectionFunctions matches the functions that only run for a connection.
var connectionFunctions = regexp.MustCompile(`caddy-realtime/module/(engineio|socketio|plainws|internal/(lifecycle|wsconn|outbox))\.`)
