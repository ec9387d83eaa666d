package realtime

import (
	"slices"
	"strings"

	"go.uber.org/zap"
)

// A Policy has the settings that apply to the sockets of an endpoint.
type Policy struct {
	// Namespaces that clients may connect to. Default: "/" alone.
	Namespaces Globs
	// Authenticators must all accept a socket. They are asked in order, and later ones add to the
	// identity. Default: every client is accepted.
	Authenticators []Authenticator
	// Authentication differs whenever the authenticators could answer differently: it is made of
	// their configuration, keys included. A client that recovers its socket is authenticated again
	// if Authentication has changed since. It never leaves the process. Default: it never changes.
	Authentication string
	// Handlers are asked in order to handle an event, until one does. Default: none.
	Handlers []Handler
	// Limits bound what one client can use.
	Limits Limits
	// Logger gets a line for each socket that connects or disconnects. Default: none.
	Logger *zap.Logger
}

func (p *Policy) allows(namespace string) bool {
	if len(p.Namespaces) == 0 {
		return namespace == "/"
	}
	return p.Namespaces.Match(namespace)
}

// lists reports whether the policy lists the namespace by its name rather than by a pattern.
func (p *Policy) lists(namespace string) bool {
	if len(p.Namespaces) == 0 {
		return namespace == "/"
	}
	return !strings.ContainsAny(namespace, "*?") && slices.Contains(p.Namespaces, namespace)
}

func (p *Policy) logger() *zap.Logger {
	if p.Logger == nil {
		return zap.NewNop()
	}
	return p.Logger
}

// An Endpoint is one configured entrance to a hub. It outlives its settings. All methods may be
// called concurrently.
type Endpoint struct {
	name    string
	hub     *Hub
	acquire func() (policy *Policy, release func())
	pending Pending
}

// NewEndpoint returns an endpoint that calls acquire for its policy whenever something happens, and
// release when that has been handled. Until then nothing that the policy refers to may be cleaned
// up.
func NewEndpoint(name string, hub *Hub, acquire func() (policy *Policy, release func())) *Endpoint {
	e := &Endpoint{name: name, hub: hub, acquire: acquire}
	e.pending.endpoint = e
	hub.mu.Lock()
	defer hub.mu.Unlock()
	hub.endpoints[name] = e
	return e
}

// restoredEndpoint returns the endpoint of a restored socket. Its policy is that of the hub's
// endpoint of the same name, as soon as there is one.
func (h *Hub) restoredEndpoint(name string) *Endpoint {
	return &Endpoint{name: name, hub: h, acquire: func() (*Policy, func()) {
		h.mu.RLock()
		e := h.endpoints[name]
		h.mu.RUnlock()
		if e == nil {
			return new(Policy), func() {}
		}
		return e.acquire()
	}}
}

// Name returns the endpoint's name.
func (e *Endpoint) Name() string { return e.name }

// Hub returns the hub that the endpoint leads to.
func (e *Endpoint) Hub() *Hub { return e.hub }

// Allows reports whether clients may connect to the namespace.
func (e *Endpoint) Allows(namespace string) bool {
	policy, release := e.acquire()
	defer release()
	return policy.allows(namespace)
}

// Scope returns what the endpoint may reach in its hub.
func (e *Endpoint) Scope() *Scope {
	policy, release := e.acquire()
	defer release()
	namespaces := policy.Namespaces
	if len(namespaces) == 0 {
		namespaces = Globs{"/"}
	}
	return &Scope{Namespaces: namespaces, Endpoint: e.name}
}

// DisallowedSockets returns the endpoint's sockets on this node, recoverable ones included, whose
// namespace none of the policies allows.
func (e *Endpoint) DisallowedSockets(policies ...*Policy) []*Socket {
	var sockets []*Socket
	for _, n := range e.hub.Namespaces() {
		if slices.ContainsFunc(policies, func(p *Policy) bool { return p.allows(n.name) }) {
			continue
		}
		for _, s := range n.Find(Selector{}) {
			if s.endpoint.name == e.name { // a restored socket has another Endpoint of that name
				sockets = append(sockets, s)
			}
		}
	}
	return sockets
}

// Limits returns the current limits, with defaults in place of zero values.
func (e *Endpoint) Limits() Limits {
	policy, release := e.acquire()
	defer release()
	return policy.Limits.WithDefaults()
}
