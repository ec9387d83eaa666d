package realtime

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// A movedSocket is a socket that another node has taken over. It is remembered for a while: what nodes
// are asked to do to sockets may come to this one after it has gone, when it has been done at the other
// one before it was there.
type movedSocket struct {
	socket  *Socket
	node    string // that has it
	since   time.Time
	settled bool // the other node has said what became of it
}

// move removes a disconnected socket that a node takes over. The caller holds the mutexes of the store
// and the namespace.
func (r *recoveryStore) move(d *disconnectedSocket, node string) {
	n, s := r.namespace, d.socket
	rooms := s.roomNames()
	r.removeDisconnected(d)
	s.rooms = nil
	n.moved.add(s)
	for _, room := range rooms {
		n.moved.rooms.add(room, s)
	}
	if len(r.moved) >= maxDisconnected {
		r.pruneMoved(0)
	}
	if r.moved == nil {
		r.moved = make(map[string]*movedSocket)
	}
	r.moved[s.recovery.pid] = &movedSocket{socket: s, node: node, since: time.Now()}
	r.startTimer()
}

// pruneMoved forgets moved sockets after a time, and later if nobody has said what became of them. The
// caller of it and of forgetMoved holds the mutexes of the store and the namespace.
func (r *recoveryStore) pruneMoved(keep time.Duration) {
	for pid, m := range r.moved {
		age := time.Since(m.since)
		if m.settled && age >= keep || age >= r.settings.Window {
			r.forgetMoved(pid)
		}
	}
}

// forgetMoved forgets that a socket has been moved, if it has.
func (r *recoveryStore) forgetMoved(pid string) {
	if m := r.moved[pid]; m != nil {
		r.namespace.moved.remove(m.socket)
		delete(r.moved, pid)
	}
}

// settle records what became of a moved socket, and returns it. It returns nil if that is known already
// or the socket is not one.
func (r *recoveryStore) settle(e *takeoverEnd) *Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.moved[e.PID]
	if m == nil || m.settled || m.socket.endpoint.name != e.Endpoint {
		return nil
	}
	m.settled = true
	return m.socket
}

// unsettled returns how many moved sockets there are of which nobody has said what became of them.
func (r *recoveryStore) unsettled() (all int) {
	for _, m := range r.moved {
		if !m.settled {
			all++
		}
	}
	return all
}

// matchingMoved returns the ids of the moved sockets that match, by the nodes that have them.
func (r *recoveryStore) matchingMoved(m *matcher) map[string][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	if len(r.moved) == 0 || !m.namespaces.allow(n.name) || !m.reaches(n.name) {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	nodes := make(map[string][]string)
	for _, s := range n.moved.appendMatching(nil, m) {
		if moved := r.moved[s.recovery.pid]; moved != nil {
			nodes[moved.node] = append(nodes[moved.node], s.id)
		}
	}
	return nodes
}

// forward has a change done to the selected sockets that other nodes have taken over of late. They may
// do it twice, which changes nothing. The error says that one may not have done it.
func (c *change) forward(ctx context.Context, h *Hub) (refused *JoinError, err error) {
	if c.local {
		return nil, nil
	}
	m := newMatcher(&c.Selector)
	for _, n := range h.Namespaces() {
		r := n.recovery.Load()
		if r == nil {
			continue
		}
		for node, ids := range r.matchingMoved(m) {
			there := *c
			there.Selector = Selector{Namespaces: []string{n.name}, Sockets: ids, Scope: c.Selector.Scope}
			result, err := h.ask(ctx, node, &there)
			if err != nil {
				return nil, fmt.Errorf("sockets have moved to node %q: %w", node, err)
			}
			if refused == nil {
				refused = result.Refused
			}
		}
	}
	return refused, nil
}

// ask has one node do a change.
func (h *Hub) ask(ctx context.Context, node string, c *change) (changeResult, error) {
	var body bytes.Buffer
	if err := rawjson.Encode(&body, c); err != nil {
		return changeResult{}, fmt.Errorf("encoding operation: %w", err)
	}
	answers, err := h.bus.Request(ctx, kindChange, body.Bytes(), node)
	switch {
	case err != nil:
		return changeResult{}, err
	case answers.Nodes[node] == nil:
		return changeResult{}, errNoAnswer
	}
	return decodeResult(c, answers.Nodes[node])
}

// HandOver waits until other nodes have taken over all recoverable sockets, or ctx ends. It returns at
// once if there is no node that could. It is for a node that is about to end, and whose connections
// have ended.
func (h *Hub) HandOver(ctx context.Context) {
	h.bus.Leave()
	ticker := time.NewTicker(20 * time.Millisecond) // at the end of a process, nothing need tell of each
	defer ticker.Stop()
	for h.hasSuccessor() && h.hasToHandOver() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// hasSuccessor reports whether another node stays.
func (h *Hub) hasSuccessor() bool {
	for _, m := range h.bus.Members() {
		if !m.Leaving {
			return true
		}
	}
	return false
}

func (h *Hub) hasToHandOver() bool {
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil && r.hasToHandOver() {
			return true
		}
	}
	return false
}

func (r *recoveryStore) hasToHandOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.prune()
	return r.disconnected.len() > 0 || r.unsettled() > 0
}

// movedKeep is how long a moved socket is remembered.
const movedKeep = bus.InFlight
