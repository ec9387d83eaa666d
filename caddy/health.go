package caddy

import (
	"encoding/json"
	"net/http"
)

// health is the answer of the health route.
type health struct {
	WebSocket struct {
		Enabled     bool `json:"enabled"`
		Connections int  `json:"connections"` // open ones, on this node
	} `json:"websocket"`
	*healthDetails
}

// healthDetails are added to the answer if the request has ?verbose=1.
type healthDetails struct {
	Hub        string         `json:"hub"`
	Node       string         `json:"node"`
	Sockets    int            `json:"sockets"`
	Transports map[string]int `json:"transports"`
	Rooms      int            `json:"rooms"`
	Broker     string         `json:"broker"`
	Connected  *bool          `json:"broker_connected,omitempty"` // not of brokers without a connection
	Draining   bool           `json:"draining"`
	Handover   string         `json:"handover"` // see handover.Listeners.State
}

// serveHealth answers whether the hub accepts new connections, and how many it has.
func (h *hub) serveHealth(w http.ResponseWriter, r *http.Request, handover string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "health is told to GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	draining := h.isDraining()
	connected, lacking := h.brokerState()
	var answer health
	answer.WebSocket.Enabled = !draining
	answer.WebSocket.Connections = h.connections()
	if r.URL.Query().Get("verbose") == "1" {
		sockets, rooms := h.Stats()
		answer.healthDetails = &healthDetails{
			Hub:        h.Name(),
			Node:       h.Node(),
			Sockets:    sockets,
			Transports: h.transports(),
			Rooms:      rooms,
			Broker:     h.currentBroker().name(),
			Connected:  connected,
			Draining:   draining,
			Handover:   handover,
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // numbers and strings always marshal
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if draining || lacking {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(body)
}
