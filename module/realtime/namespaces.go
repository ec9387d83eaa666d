package realtime

import (
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// The namespaces of a hub come to be when somebody is let into them, and go when
// nobody is in them any more, may come back to them, or could be told what happened
// in them. Names that nobody is let into take no memory, whoever says them.

// maxNamespaces is how many namespaces there can be because of clients. A pattern
// among an endpoint's namespaces lets in any number of names; one that is written
// there as it is has its place however many others there are.
const maxNamespaces = 10_000

// Namespace returns the namespace of a name, such as "/" or "/admin". It exists
// from now on for as long as the hub does: the name must not be a client's.
func (h *Hub) Namespace(name string) *Namespace {
	if n := h.existing(name); n != nil && n.lasting.Load() {
		return n
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.namespaces[name]
	if n == nil {
		n = h.add(name)
	}
	n.lasting.Store(true)
	return n
}

// Lookup returns the namespace of a name to let a client in, to send to it, or to
// ask who is there. It is not made by that, and need not last: who keeps what is
// returned must not expect to find anyone by it later, but can go on sending, which
// reaches whoever is in the namespace of the name then.
func (h *Hub) Lookup(name string) *Namespace {
	if n := h.existing(name); n != nil {
		return n
	}
	return &Namespace{hub: h, name: name}
}

// existing returns nil where there is none.
func (h *Hub) existing(name string) *Namespace {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.namespaces[name]
}

// add makes a namespace. The caller holds the mutex.
func (h *Hub) add(name string) *Namespace {
	n := newNamespace(h, name, h.recovery)
	n.sealed.Store(h.sealed)
	n.exists.Store(true)
	h.namespaces[name] = n
	return n
}

// occupy returns the namespace of a name for somebody who is about to be in it. The
// caller calls vacate if nobody is in the end. The error is ErrTooManyNamespaces.
func (h *Hub) occupy(name string, p *Policy) (*Namespace, error) {
	if n := h.existing(name); n != nil {
		return n, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.namespaces[name]; n != nil {
		return n, nil
	}
	if h.full(name, p) {
		return nil, ErrTooManyNamespaces
	}
	return h.add(name), nil
}

// full reports whether there is no place for a namespace, where one would have to
// be made. The caller holds the mutex, at least for reading.
func (h *Hub) full(name string, p *Policy) bool {
	if len(h.namespaces) < maxNamespaces || h.namespaces[name] != nil || p.names(name) {
		return false
	}
	h.limited.Warn("a client is sent away: there are too many namespaces", zap.Int("namespaces", maxNamespaces))
	return true
}

// isFull is full for who does not hold the mutex.
func (h *Hub) isFull(name string, p *Policy) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.full(name, p)
}

// vacate has a namespace go unless somebody needs it.
func (h *Hub) vacate(n *Namespace) {
	if n.lasting.Load() || !n.exists.Load() || n.occupied() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !n.lasting.Load() && n.retire() {
		delete(h.namespaces, n.name)
		if len(h.namespaces) == 0 {
			h.namespaces = make(map[string]*Namespace) // a map does not shrink
		}
	}
}

func (n *Namespace) occupied() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sockets) > 0
}

// retire ends the namespace and reports true, or reports that somebody needs it:
// who is in it, may come back to it, or will want to know what happened. The caller
// holds the hub's mutex.
func (n *Namespace) retire() bool {
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
		r.retire()
	}
	return true
}

// current returns the namespace that has the name of this one: another one where it
// has gone, or never was, and itself where there is none.
func (n *Namespace) current() *Namespace {
	if !n.exists.Load() {
		if existing := n.hub.existing(n.name); existing != nil {
			return existing
		}
		if n.hub.Sealed() {
			n.sealed.Store(true)
		}
	}
	return n
}

// Namespaces returns the namespaces that there are, by name.
func (h *Hub) Namespaces() []*Namespace {
	h.mu.RLock()
	all := slices.Collect(maps.Values(h.namespaces))
	h.mu.RUnlock()
	slices.SortFunc(all, func(a, b *Namespace) int { return strings.Compare(a.name, b.name) })
	return all
}
