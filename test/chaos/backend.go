package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Backend handles the connects and events of a crowd's clients. Each client is a user
// with a room of its own. The checker checks that the backend gets each number of the
// manner Asked once and in order. A Backend stays the same through restarts of the
// server and of the HTTP servers that call it.
type Backend struct {
	Checker *Checker
	// Verify checks the signature of a request; nil: not checked.
	Verify func(body []byte, header http.Header) error

	Asked    atomic.Int64 // events
	Repeated atomic.Int64 // messages that had come before
	Batches  atomic.Int64 // requests with several messages

	mu      sync.Mutex
	logs    map[string]*Record    // of clients, by their names
	sockets map[string]string     // names of the clients that have been let in, by the ids of their sockets
	ended   map[string]disconnect // by webhook-id
}

// A disconnect is the message that a socket is gone.
type disconnect struct{ socket, initiator, reason string }

// hear has the backend record the numbers of a crowd's clients. It must be called
// before they send any.
func (b *Backend) hear(c *Crowd) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = make(map[string]*Record)
	b.sockets = make(map[string]string)
	b.ended = make(map[string]disconnect)
	for _, s := range c.senders {
		if s.manner != Asked {
			continue
		}
		l := b.Checker.Record("the backend", s.source)
		l.Connected(false)
		b.logs[s.name] = l
	}
}

// A call is a request to the backend.
type call struct {
	Type string
	Data struct {
		Socket struct {
			ID    string
			User  *string
			Rooms []string
		}
		State struct{ Name string }
		Auth  struct{ Client string }
		Event string
		Args  []json.RawMessage

		Initiator, Reason string
	}
}

// ServeHTTP implements http.Handler.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	if b.Verify != nil {
		if err := b.Verify(body, r.Header); err != nil {
			b.Checker.violate("a request to the backend: %v", err)
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
	}
	var m struct {
		call
		Messages []struct {
			ID string
			call
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		b.Checker.violate("a request to the backend is %.200s: %v", body, err)
		http.Error(w, "no message", http.StatusBadRequest)
		return
	}
	if m.Type != "batch" {
		b.answer(w, r.Header.Get("Webhook-Id"), &m.call)
		return
	}
	b.Batches.Add(1)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, one := range m.Messages {
		answer := httptest.NewRecorder()
		b.answer(answer, one.ID, &one.call)
		text := answer.Body.String()
		if text == "" {
			text = "null"
		}
		_, _ = fmt.Fprintf(w, `{"id":%q,"status":%d,"body":%s}`+"\n", one.ID, answer.Code, text)
	}
}

// answer answers a message.
func (b *Backend) answer(w http.ResponseWriter, id string, m *call) {
	switch m.Type {
	case "socket.connect":
		b.admit(w, m)
	case "socket.event":
		b.handle(w, m)
	case "socket.disconnect":
		b.dismiss(id, m)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (b *Backend) admit(w http.ResponseWriter, m *call) {
	name := m.Data.Auth.Client
	b.mu.Lock()
	b.sockets[m.Data.Socket.ID] = name
	b.mu.Unlock()
	_, _ = fmt.Fprintf(w, `{"user":%q,"data":{"name":%q},"join":[%q]}`, "user of "+name, name, "own:"+name)
}

func (b *Backend) handle(w http.ResponseWriter, m *call) {
	d := &m.Data
	var name string
	var n uint32
	if d.Event != Asked || len(d.Args) != 2 || json.Unmarshal(d.Args[0], &name) != nil || json.Unmarshal(d.Args[1], &n) != nil {
		b.Checker.violate("the backend is asked for %s %s", d.Event, d.Args)
		return
	}
	// The request must name the user that connected, whatever has happened since.
	if d.Socket.User == nil || *d.Socket.User != "user of "+name || d.State.Name != name || !slices.Contains(d.Socket.Rooms, "own:"+name) {
		b.Checker.violate("the backend is asked by %s, whose state is %q and whose rooms are %q", name, d.State.Name, d.Socket.Rooms)
	}
	b.mu.Lock()
	l := b.logs[name]
	b.mu.Unlock()
	if l == nil {
		b.Checker.violate("the backend is asked by %s, who is none of its clients", name)
		return
	}
	b.Asked.Add(1)
	l.Got(n)
	_, _ = fmt.Fprintf(w, `{"ack":[%d]}`, n)
}

func (b *Backend) dismiss(id string, m *call) {
	d := &m.Data
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.ended[id]; ok {
		b.Repeated.Add(1)
	}
	b.ended[id] = disconnect{d.Socket.ID, d.Initiator, d.Reason}
}

// Disconnected returns who disconnected each socket and why, by the ids of the sockets.
// Repetitions of a message count once.
func (b *Backend) Disconnected() map[string][]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	gone := make(map[string][]string)
	for _, e := range b.ended {
		gone[e.socket] = append(gone[e.socket], strings.TrimSpace(e.initiator+" "+e.reason))
	}
	return gone
}
