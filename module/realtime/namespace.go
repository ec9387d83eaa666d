package realtime

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A Namespace is a set of sockets that broadcasts do not leave. All methods may be called
// concurrently. A Namespace that its hub has removed, or never added, is only a name: events sent
// through it go to the hub's namespace of that name.
type Namespace struct {
	hub   *Hub
	name  string
	acks  atomic.Uint64 // the last number of an event that awaits acks
	order order

	exists    atomic.Bool // the hub has it; changed with the hub's mutex and mu held
	permanent atomic.Bool // the hub keeps it; changed with the hub's mutex held

	sealed   atomic.Bool                   // changed with all of order locked
	recovery atomic.Pointer[recoveryStore] // nil while recovery is off; changed like sealed

	mu           sync.RWMutex
	socketSet              // those that are connected
	disconnected socketSet // recoverable sockets whose client is disconnected
	moved        socketSet // those that other nodes have taken over of late
}

func newNamespace(hub *Hub, name string, recovery Recovery) *Namespace {
	connected, disconnected := &interest{hub.bus, name, hub.occupancy}, &interest{hub.bus, name, nil}
	n := &Namespace{hub: hub, name: name, socketSet: newSocketSet(connected), disconnected: newSocketSet(disconnected), moved: newSocketSet(nil)}
	n.setRecovery(recovery)
	return n
}

// Name returns the namespace's name, such as "/".
func (n *Namespace) Name() string { return n.name }

// Hub returns the hub that the namespace belongs to.
func (n *Namespace) Hub() *Hub { return n.hub }

// Socket finds a connected socket of this node by its id. Find finds recoverable ones, too.
func (n *Namespace) Socket(id string) (*Socket, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.sockets[id]
	return s, ok
}

// Sockets returns the connected sockets of this node, in no particular order.
func (n *Namespace) Sockets() []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.Collect(maps.Values(n.sockets))
}

// Members returns the connected sockets of this node that are in a room, in no particular order. A
// socket's id is the name of its own room.
func (n *Namespace) Members(room string) []*Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	in := n.rooms.get(room)
	members := slices.Clone(in.members)
	if s, ok := n.sockets[room]; ok && !in.has(s) {
		members = append(members, s)
	}
	return members
}

// HasMembers reports whether any socket of this node is in a room, connected or recoverable. A socket's
// id is the name of its own room.
func (n *Namespace) HasMembers(room string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.hasIDLocked(room) || len(n.rooms.get(room).members) > 0 || len(n.disconnected.rooms.get(room).members) > 0
}

// Rooms returns how many connected sockets of this node are in each room. The rooms that sockets
// have of their own are left out.
func (n *Namespace) Rooms() map[string]int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	counts := make(map[string]int, len(n.rooms.named))
	for name, room := range n.rooms.named {
		counts[name] = len(room.members)
	}
	return counts
}

// IsSocketRoom reports whether a room is a socket's own, on any node, even if the socket is gone.
// Another socket must not join it: it would get what is meant for that socket alone.
func (n *Namespace) IsSocketRoom(room string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.isSocketRoomLocked(room)
}

func (n *Namespace) isSocketRoomLocked(room string) bool {
	return isSocketID(room) || n.hasIDLocked(room) // an id that this server has not made may be of any form
}

// hasIDLocked reports whether a socket of this node has an id, connected or recoverable.
func (n *Namespace) hasIDLocked(id string) bool {
	_, connected := n.sockets[id]
	_, recoverable := n.disconnected.sockets[id]
	return connected || recoverable
}

// To returns a broadcast to rooms. Without any, it goes to the whole namespace.
func (n *Namespace) To(rooms ...string) Broadcast {
	return Broadcast{namespace: n}.To(rooms...)
}

// addLocked adds a connected socket. The caller of this method and of the other xLocked methods
// holds the mutex.
func (n *Namespace) addLocked(s *Socket) {
	s.present = true
	n.socketSet.add(s)
	n.hub.expiries.add(s)
}

// removeLocked removes a connected socket.
func (n *Namespace) removeLocked(s *Socket) {
	s.present = false
	n.socketSet.remove(s)
	n.hub.expiries.remove(s)
}

// joinLocked has a socket join rooms, up to limit in all. It returns those that it may not join.
func (n *Namespace) joinLocked(s *Socket, rooms []string, limit int) (refused []string) {
	set := n.setOf(s)
	for _, room := range rooms {
		switch {
		case room == s.id:
		case n.isSocketRoomLocked(room), room == "", len(room) > MaxRoomName, len(s.rooms) >= limit && !set.rooms.get(room).has(s):
			refused = append(refused, room)
		case set.rooms.add(room, s) && s.recovery != nil:
			s.recovery.join(room, time.Now())
		}
	}
	return refused
}

// setOf returns the set that has the socket.
func (n *Namespace) setOf(s *Socket) *socketSet {
	if s.present {
		return &n.socketSet
	}
	return &n.disconnected
}

// holderLocked returns the socket that stands for s now: s itself, or the one that its recovery
// state has passed to. It returns nil if s has disconnected and is not recoverable.
func (n *Namespace) holderLocked(s *Socket) *Socket {
	switch {
	case s.recovery != nil:
		return s.recovery.holder
	case s.present:
		return s
	}
	return nil
}

func (n *Namespace) holder(s *Socket) *Socket {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.holderLocked(s)
}

// remove removes a socket for good.
func (n *Namespace) remove(s *Socket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.present {
		n.removeLocked(s)
	}
}

// roomsRefused says why a socket may not join rooms.
const roomsRefused = "they belong to other sockets, have an empty or too long name, or exceed the limit rooms"

// roomsField returns a log field with at most ten of the rooms, their names shortened.
func roomsField(rooms []string) zap.Field {
	some := slices.Clone(rooms[:min(len(rooms), 10)])
	for i, room := range some {
		if len(room) > MaxRoomName {
			some[i] = room[:MaxRoomName] + "…"
		}
	}
	return zap.Strings("rooms", some)
}

func (n *Namespace) join(s *Socket, rooms []string) (refused []string) {
	limit := s.endpoint.Limits().Rooms
	defer n.hub.unwatch(n.hub.watch(n.name, rooms))
	n.mu.Lock()
	defer n.mu.Unlock()
	if s = n.holderLocked(s); s == nil {
		return nil
	}
	return n.joinLocked(s, rooms, limit)
}

func (n *Namespace) leave(s *Socket, rooms []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s = n.holderLocked(s); s == nil {
		return
	}
	set := n.setOf(s)
	for _, room := range rooms {
		if set.rooms.remove(room, s) && s.recovery != nil {
			s.recovery.leave(room)
		}
	}
}

func (n *Namespace) roomsOf(s *Socket) []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if holder := n.holderLocked(s); holder != nil {
		s = holder
	}
	return s.roomNames()
}

func (n *Namespace) stats() (sockets, rooms int) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.sockets), len(n.rooms.named)
}

// newMessage makes the message of every event that is sent. The error says what is wrong with the
// event.
func (n *Namespace) newMessage(event string, args []Arg) (*Message, error) {
	if err := n.hub.limits.Load().Check(event, args); err != nil {
		return nil, err
	}
	return n.restoreMessage(event, args)
}

// restoreMessage is newMessage for an event that has been sent before, perhaps under other limits.
func (n *Namespace) restoreMessage(event string, args []Arg) (*Message, error) {
	if Reserved(event) {
		return nil, fmt.Errorf("the event name %q is reserved", event)
	}
	if err := checkAttachments(args); err != nil {
		return nil, err
	}
	return &Message{Namespace: n.name, Event: event, Args: args}, nil
}
