package netbroker

import (
	"slices"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/cluster/internal/queue"
)

// maxSenders is how many publishers of one topic are remembered.
const maxSenders = 1024

// A topic is what this node knows of one topic that it is subscribed to. The messaging system has
// one subscription for it, however many the topic has at this node.
type topic struct {
	name string

	mu         sync.Mutex
	queues     []*queue.Queue // of the subscriptions at this node
	subscribed bool           // the system has confirmed the subscription over the present connection
	gapDue     bool           // a connection was lost since the last frame
	settled    chan struct{}  // closed when subscribed is true, or cannot become so soon; nil if nobody waits
	senders    []sender       // the publishers that have been heard, the latest that was added last
}

// A sender is a publisher, as a subscriber sees it.
type sender struct {
	publisher uint64
	sequence  uint64 // of the last frame
	node      string // of the last envelope
}

// add adds the queue of a subscription.
func (t *topic) add(q *queue.Queue) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queues = append(t.queues, q)
}

// remove removes the queue of a subscription, and reports whether it was the last one.
func (t *topic) remove(q *queue.Queue) (empty bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queues, q); i >= 0 {
		// A copy, since receive may be going through the old ones.
		t.queues = append(slices.Clone(t.queues[:i]), t.queues[i+1:]...)
	}
	return len(t.queues) == 0
}

// wait returns a channel that is closed when the subscription is settled; nil if it is confirmed.
func (t *topic) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.subscribed {
		return nil
	}
	if t.settled == nil {
		t.settled = make(chan struct{})
	}
	return t.settled
}

// confirm says that the messaging system has confirmed the subscription.
func (t *topic) confirm() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscribed = true
	t.settle()
	if t.gapDue {
		t.addGap()
	}
}

// lose says that there is no connection. A gap is due as soon as there is one again.
func (t *topic) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.subscribed = false
	t.gapDue = true
	t.settle()
}

func (t *topic) settle() {
	if t.settled != nil {
		close(t.settled)
		t.settled = nil
	}
}

func (t *topic) addGap() {
	t.gapDue = false
	for _, q := range t.queues {
		q.AddGap()
	}
}

// receive takes a frame that has come over the connection. It does not wait.
func (t *topic) receive(f frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.subscribed && !t.gapDue {
		return // Subscribe has not returned: this was published before
	}
	s, lost := t.track(f)
	if lost || t.gapDue && s != nil {
		// Before the subscription is confirmed again, frames may come already. What was lost with the
		// old connection was lost before them.
		t.addGap()
	}
	if s == nil || f.kind != kindEnvelope {
		return
	}
	if s.node != string(f.node) {
		s.node = string(f.node)
	}
	e := cluster.Envelope{Node: s.node, Topic: t.name, Payload: f.payload}
	for _, q := range t.queues {
		q.Add(e)
	}
}

// track compares a frame's sequence number with the last one of its publisher. It reports whether
// envelopes were lost before it. The sender is nil if the frame is nothing new.
func (t *topic) track(f frame) (s *sender, lost bool) {
	i := slices.IndexFunc(t.senders, func(s sender) bool { return s.publisher == f.publisher })
	if i < 0 {
		// The envelopes before this one may have been published before the subscription.
		if len(t.senders) == maxSenders {
			t.senders = slices.Delete(t.senders, 0, 1)
		}
		t.senders = append(t.senders, sender{publisher: f.publisher, sequence: f.sequence})
		return &t.senders[len(t.senders)-1], false
	}
	s = &t.senders[i]
	if f.sequence <= s.sequence {
		return nil, false // a publisher repeats what may not have arrived
	}
	lost = f.kind == kindTail || f.sequence > s.sequence+1
	s.sequence = f.sequence
	return s, lost
}
