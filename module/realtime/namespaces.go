package realtime

import (
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// A hub adds a namespace when the first client connects to it, and removes it when no socket is
// connected or recoverable and its history is empty. Names that no client is connected to take no
// memory.

// maxNamespaces is how many namespaces clients can bring about, where a pattern allows any number
// of names. A namespace that an endpoint lists by its name has its place in any case.
const maxNamespaces = 10_000

// Namespace returns the namespace of a name, such as "/" or "/admin", and keeps it for as long as
// the hub exists. The name must not come from a client: use Lookup for those.
func (h *Hub) Namespace(name string) *Namespace {
	if n := h.find(name); n != nil && n.permanent.Load() {
		return n
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.namespaces[name]
	if n == nil {
		n = h.add(name)
	}
	n.permanent.Store(true)
	return n
}

// Lookup returns the namespace of a name, to connect a client, to send to it, or to ask who is
// there. It does not add the namespace. Events that are sent through the returned value always
// reach whoever is in the namespace of that name at the time, but its other methods may find nobody
// once the hub has removed it.
func (h *Hub) Lookup(name string) *Namespace {
	if n := h.find(name); n != nil {
		return n
	}
	return &Namespace{hub: h, name: name}
}

// find returns nil if there is no namespace of the name.
func (h *Hub) find(name string) *Namespace {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.namespaces[name]
}

// add adds a namespace. The caller holds the mutex.
func (h *Hub) add(name string) *Namespace {
	n := newNamespace(h, name, h.recovery)
	n.sealed.Store(h.sealed)
	n.exists.Store(true)
	h.namespaces[name] = n
	return n
}

// findOrAdd returns the namespace of a name for a client that is about to connect. If it does not
// connect after all, the caller calls removeIfUnused. The error is ErrTooManyNamespaces.
func (h *Hub) findOrAdd(name string, p *Policy) (*Namespace, error) {
	if n := h.find(name); n != nil {
		return n, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.namespaces[name]; n != nil {
		return n, nil
	}
	if h.fullLocked(name, p) {
		return nil, ErrTooManyNamespaces
	}
	return h.add(name), nil
}

// fullLocked reports whether the namespace would have to be added, and is one too many. The caller
// holds the mutex, at least for reading.
func (h *Hub) fullLocked(name string, p *Policy) bool {
	if len(h.namespaces) < maxNamespaces || h.namespaces[name] != nil || p.lists(name) {
		return false
	}
	h.limited.Warn("client refused: there are too many namespaces", zap.Int("namespaces", maxNamespaces))
	return true
}

// full is fullLocked for a caller that does not hold the mutex.
func (h *Hub) full(name string, p *Policy) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.fullLocked(name, p)
}

// removeIfUnused removes a namespace unless somebody needs it.
func (h *Hub) removeIfUnused(n *Namespace) {
	if n.permanent.Load() || !n.exists.Load() || n.hasSockets() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !n.permanent.Load() && n.closeIfUnused() {
		delete(h.namespaces, n.name)
		if len(h.namespaces) == 0 {
			h.namespaces = make(map[string]*Namespace) // a map does not shrink
		}
	}
}

func (n *Namespace) hasSockets() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sockets) > 0
}

// closeIfUnused closes the namespace and reports true, unless it has sockets, recoverable sockets
// or a history. The caller holds the hub's mutex.
func (n *Namespace) closeIfUnused() bool {
	r := n.recovery.Load()
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.exists.Load() || len(n.sockets) > 0 || r != nil && !r.closed && !r.isEmpty() {
		return false
	}
	n.exists.Store(false)
	if r != nil {
		r.closeEmpty()
	}
	return true
}

// current returns the hub's namespace of this one's name. If there is none, it returns n.
func (n *Namespace) current() *Namespace {
	if !n.exists.Load() {
		if existing := n.hub.find(n.name); existing != nil {
			return existing
		}
		if n.hub.Sealed() {
			n.sealed.Store(true)
		}
	}
	return n
}

// Namespaces returns the hub's namespaces, sorted by their names.
func (h *Hub) Namespaces() []*Namespace {
	h.mu.RLock()
	all := slices.Collect(maps.Values(h.namespaces))
	h.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Namespace) int { return strings.Compare(a.name, b.name) })
	return all
}
