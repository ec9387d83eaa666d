package realtime

import (
	"slices"
	"strings"

	"go.uber.org/zap"
)

// A Policy is what the sockets of an endpoint live under.
type Policy struct {
	// Namespaces that clients may connect to. Default "/" alone.
	Namespaces Globs
	// Authenticators must all accept a socket, in this order; later ones add to
	// the identity. Default: every client is let in.
	Authenticators []Authenticator
	// Authentication is a text that is different where the authenticators could
	// say otherwise of a client: their configuration, keys included. A client
	// that comes back is authenticated again where it is not what it was. It
	// stays in the process. Default: it never changes.
	Authentication string
	// Handlers are asked in this order to handle an event; the first that does
	// ends the search. Default: none.
	Handlers []Handler
	// Limits bound what one client can take.
	Limits Limits
	// Logger gets a line for each socket that connects or disconnects.
	// Default: none.
	Logger *zap.Logger
}

func (p *Policy) allows(namespace string) bool {
	if len(p.Namespaces) == 0 {
		return namespace == "/"
	}
	return p.Namespaces.Match(namespace)
}

// names reports whether a namespace is one of those that the policy names as they are.
func (p *Policy) names(namespace string) bool {
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

// An Endpoint is one configured entrance to a hub. It outlives its settings.
type Endpoint struct {
	name    string
	hub     *Hub
	acquire func() (policy *Policy, release func())
	pending Pending
}

// NewEndpoint returns an endpoint that asks acquire for its policy each time
// something happens, and calls release when what happened has been dealt with:
// until then nothing that the policy refers to may be cleaned up.
func NewEndpoint(name string, hub *Hub, acquire func() (policy *Policy, release func())) *Endpoint {
	e := &Endpoint{name: name, hub: hub, acquire: acquire}
	e.pending.endpoint = e
	hub.mu.Lock()
	defer hub.mu.Unlock()
	hub.endpoints[name] = e
	return e
}

// restored returns the endpoint of a socket that is restored. Its policy is that of
// the hub's endpoint of its name, once there is one.
func (h *Hub) restored(name string) *Endpoint {
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

// Allows reports whether clients may connect to the namespace of a name.
func (e *Endpoint) Allows(namespace string) bool {
	policy, release := e.acquire()
	defer release()
	return policy.allows(namespace)
}

// DisallowedSockets returns the endpoint's sockets on this node that are in a namespace to which none
// of the policies lets clients connect. Sockets whose clients may come back are among them.
func (e *Endpoint) DisallowedSockets(policies ...*Policy) []*Socket {
	var sockets []*Socket
	for _, n := range e.hub.Namespaces() {
		if slices.ContainsFunc(policies, func(p *Policy) bool { return p.allows(n.name) }) {
			continue
		}
		for _, s := range n.Find(Query{}) {
			if s.endpoint.name == e.name { // a restored socket has another Endpoint of that name
				sockets = append(sockets, s)
			}
		}
	}
	return sockets
}

// Limits returns the limits of the endpoint's settings of the moment. None of
// them is zero.
func (e *Endpoint) Limits() Limits {
	policy, release := e.acquire()
	defer release()
	return policy.Limits.WithDefaults()
}
