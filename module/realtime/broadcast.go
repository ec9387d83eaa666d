package realtime

import (
	"context"
	"slices"
	"sync"
)

// A Broadcast is an event that is about to be sent to many sockets. It is a value: its methods
// return modified copies, so that one broadcast can be the base of several others.
type Broadcast struct {
	namespace *Namespace
	to        target
	local     bool
	volatile  bool
	copies    *copies // if it is another node's, and comes in several copies; nil otherwise
	origin    *origin // nil if no other node has it
}

// To adds rooms. A socket in several of them gets the event once. The id of a socket is the name of
// its own room.
func (b Broadcast) To(rooms ...string) Broadcast {
	b.to.rooms = append(slices.Clip(b.to.rooms), rooms...)
	return b
}

// ToUsers adds the sockets of users.
func (b Broadcast) ToUsers(users ...string) Broadcast {
	b.to.users = append(slices.Clip(b.to.users), users...)
	return b
}

// Except leaves out the sockets in rooms.
func (b Broadcast) Except(rooms ...string) Broadcast {
	b.to.except = append(slices.Clip(b.to.except), rooms...)
	return b
}

// Local sends the event to the sockets of this node only.
func (b Broadcast) Local() Broadcast {
	b.local = true
	return b
}

// Volatile drops the event for clients that could not get it at once.
func (b Broadcast) Volatile() Broadcast {
	b.volatile = true
	return b
}

// A Sent says whom an event has been sent to.
type Sent struct {
	Sockets int // of this node, without those whose clients are away
	Nodes   int // how many other nodes are told, which have sockets of their own or not
}

// Emit sends the event. It waits neither for recipients nor for other nodes. The error is ErrSealed
// if nobody gets the event any more, and ErrLocalOnly if only the sockets of this node do. Any
// other error means that the event is not valid. Emit uses ctx for its batch only.
func (b Broadcast) Emit(ctx context.Context, event string, args ...Arg) error {
	_, _, err := b.send(ctx, event, args)
	return err
}

// Send is Emit, and says whom it has sent the event to.
func (b Broadcast) Send(ctx context.Context, event string, args ...Arg) (Sent, error) {
	sockets, told, err := b.send(ctx, event, args)
	sent := Sent{Sockets: sockets}
	if told {
		sent.Nodes = b.namespace.hub.peers()
	}
	return sent, err
}

// send returns how many sockets of this node get the event, and whether other nodes are told.
func (b Broadcast) send(ctx context.Context, event string, args []Arg) (sockets int, told bool, err error) {
	b.namespace = b.namespace.current()
	m, err := b.namespace.newMessage(event, args)
	if err != nil {
		return 0, false, err
	}
	m.Volatile = b.volatile
	if b.namespace.recovery.Load() != nil && m.recoverable() {
		m.Args = compact(m.Args)
	}
	var remote *outgoing
	if !b.local {
		if remote, err = b.namespace.hub.encode(m, &b.to); err != nil {
			return 0, false, err
		}
	}
	sockets, err = b.deliver(m, batchOf(ctx), remote)
	return sockets, remote != nil && err == nil, err
}

// deliver gives the message to each recipient on this node once, and returns how many there were.
// Remote is what is published to the other nodes, or nil. The error is ErrSealed or ErrLocalOnly.
func (b Broadcast) deliver(m *Message, batch *Batch, remote *outgoing) (sockets int, err error) {
	n := b.namespace
	var own *Batch
	defer func() {
		if own != nil {
			own.Close()
		}
	}()
	defer n.order.lock(&b.to)()
	if n.sealed.Load() {
		return 0, ErrSealed
	}
	r := n.recovery.Load()
	if r != nil && m.recoverable() {
		r.mu.Lock()
		defer r.mu.Unlock()
		defer m.forgetEncodings()
	} else {
		r = nil
	}
	if r != nil && r.closed {
		r = nil // the namespace has been removed meanwhile: nobody was in it
	}
	// It is queued under the locks, so that a room has the same order on all nodes and the history
	// that of the numbers, and first, so that the other nodes do not wait for this delivery.
	switch {
	case remote == nil:
	case r != nil:
		b.origin, err = n.hub.publishStamped(remote)
	default:
		err = n.hub.publish(remote, m.Volatile)
	}
	recipients := recipientLists.Get().(*[]*Socket)
	*recipients = b.chooseRecipients(r, m, (*recipients)[:0])
	if batch == nil && len(*recipients) > 1 {
		// It is written once the locks are free. Others broadcast to the same sockets meanwhile, and
		// what a socket gets from them before its turn leaves in the same write.
		own = new(Batch)
		own.Open()
		batch = own
	}
	for _, s := range *recipients {
		if s.recovery != nil {
			s.recovery.delivered(r)
		}
		_ = s.conn.Deliver(m, batch) // an error means that the client is being disconnected
	}
	sockets = len(*recipients)
	clear(*recipients) // the pool must not keep sockets alive
	recipientLists.Put(recipients)
	return sockets, err
}

var recipientLists = sync.Pool{New: func() any { return new([]*Socket) }}

// chooseRecipients appends the recipients to list and, unless r is nil, the message to its history.
// Both happen under one lock, so that a socket that comes or goes meanwhile either gets the message
// or is known to have missed it.
func (b Broadcast) chooseRecipients(r *recoveryStore, m *Message, list []*Socket) []*Socket {
	b.namespace.mu.RLock()
	defer b.namespace.mu.RUnlock()
	if r != nil {
		r.record(m, b.to, b.origin)
	}
	list = b.to.appendSockets(list, b.namespace)
	if b.copies != nil {
		list = b.copies.choose(list, r)
	}
	return r.withoutThoseWhoGot(list, b.origin)
}
