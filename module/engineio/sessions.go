package engineio

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/internal/registry"
)

// sessions are the sessions of a server. Those that have ended, but have something left
// for their clients, are known by their ids only. The zero value is empty.
type sessions struct {
	registry.Registry[*Session]

	mu   sync.RWMutex
	byID map[string]*Session
}

// add adds a session. It returns false if the server takes no more sessions.
func (t *sessions) add(s *Session) bool {
	if !t.Registry.Add(s) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[string]*Session)
	}
	t.byID[s.id] = s
	return true
}

func (t *sessions) get(id string) (*Session, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s, ok := t.byID[id]
	return s, ok
}

// forget makes a session's id unknown.
func (t *sessions) forget(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byID, s.id)
}
