// Package emission has the events that a backend emits: by its answers, which package
// webhook reads, and by calls of the HTTP API, which package publish reads.
package emission

import "github.com/caddy-realtime/caddy-realtime/module/realtime"

// An Emission is an event, and whom it is for: rooms and users, or everyone in the
// namespace.
type Emission struct {
	To, Users []string // nil: not written
	Except    []string
	Everyone  bool // then neither To nor Users is written
	Namespace string
	Event     string
	Args      []realtime.Arg
	Volatile  bool
}

// Listed reports whether rooms or users are written.
func (e *Emission) Listed() bool { return e.To != nil || e.Users != nil }

// Nobody reports whether the event is for nobody: a program computed lists that are
// empty.
func (e *Emission) Nobody() bool { return !e.Everyone && len(e.To)+len(e.Users) == 0 }

// Broadcast returns the event's recipients in a namespace. If the event is for nobody, it
// must not be sent: a broadcast without rooms and users is for everyone.
func (e *Emission) Broadcast(n *realtime.Namespace) realtime.Broadcast {
	b := n.To(e.To...).ToUsers(e.Users...).Except(e.Except...)
	if e.Volatile {
		b = b.Volatile()
	}
	return b
}
