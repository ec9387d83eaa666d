package realtime

import (
	"context"
	"slices"
	"sync"
)

// A Broadcast is an event about to be sent to many sockets. It is a value: its
// methods return copies, and one can be the start of several others.
type Broadcast struct {
	namespace *Namespace
	to        audience
	local     bool
	volatile  bool
}

// To adds rooms. A socket that is in several of them gets the event once. The
// id of a socket is the name of its own room.
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

// Local keeps the event on this node.
func (b Broadcast) Local() Broadcast {
	b.local = true
	return b
}

// Volatile lets the event be lost where a client could not get it at once.
func (b Broadcast) Volatile() Broadcast {
	b.volatile = true
	return b
}

// Emit sends the event. It does not wait for anyone to get it, nor for the other
// nodes to be told. The error is ErrSealed where nobody can get it any more, and
// ErrLocalOnly where only the sockets of this node can; another says that the
// event is not valid. Of ctx only the batch matters.
func (b Broadcast) Emit(ctx context.Context, event string, args ...Arg) error {
	b.namespace = b.namespace.current()
	m, err := b.namespace.newMessage(event, args)
	if err != nil {
		return err
	}
	m.Volatile = b.volatile
	if b.namespace.recovery.Load() != nil && m.lasting() {
		m.Args = compact(m.Args)
	}
	var remote []byte
	if !b.local {
		if remote, err = b.namespace.hub.publisher.encode(m, &b.to); err != nil {
			return err
		}
	}
	return b.deliver(m, batchOf(ctx), remote)
}

// deliver gives the message to each recipient on this node, once, and has what
// the other nodes are told passed on, unless that is nil. The error is ErrSealed or
// ErrLocalOnly.
func (b Broadcast) deliver(m *Message, in *Batch, remote []byte) error {
	n := b.namespace
	defer n.order.lock(&b.to)()
	if n.sealed.Load() {
		return ErrSealed
	}
	// Under the lock, so that a room has one order on all nodes; and before
	// anything else, so that they need not wait for this one.
	var err error
	if remote != nil {
		err = n.hub.publisher.add(remote, m.Volatile)
	}
	r := n.recovery.Load()
	if r != nil && m.lasting() {
		r.mu.Lock()
		defer r.mu.Unlock()
		defer m.forgetEncodings()
	} else {
		r = nil
	}
	if r != nil && r.closed {
		r = nil // the namespace has gone meanwhile: nobody was in it
	}
	recipients := recipientLists.Get().(*[]*Socket)
	*recipients = b.chooseRecipients(r, m, (*recipients)[:0])
	for _, s := range *recipients {
		if s.trail != nil {
			s.trail.passed(r)
		}
		_ = s.conn.Deliver(m, in) // a client that cannot get it is being disconnected
	}
	clear(*recipients) // the pool must not keep sockets alive
	recipientLists.Put(recipients)
	return err
}

var recipientLists = sync.Pool{New: func() any { return new([]*Socket) }}

// chooseRecipients appends the recipients to list, and enters the message into
// the recovery's history unless that is nil: at once, so that it is known
// whether who comes and goes meanwhile had to get it.
func (b Broadcast) chooseRecipients(r *recovery, m *Message, list []*Socket) []*Socket {
	b.namespace.mu.RLock()
	defer b.namespace.mu.RUnlock()
	if r != nil {
		r.record(m, b.to)
	}
	return b.to.appendSockets(list, b.namespace)
}
