package bus

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxSenders is how many other nodes are tracked in one topic, and maxTracked in all topics
	// together. Processes come and go, and a broker may invent any number.
	maxSenders = maxMembers
	maxTracked = 1 << 18

	// maxAwaited is how many messages are awaited that heartbeats have told of. Beyond it no further
	// ones are: only a hostile broker can bring that about.
	maxAwaited = 1 << 16

	// grace is how much later than a heartbeat a message may arrive that was published before it in
	// another topic.
	grace = 2 * time.Second
)

// A tracker finds messages of other nodes that are missing, and those that come twice, by their
// numbers.
type tracker struct {
	mu      sync.Mutex
	topics  map[Topic]map[string]*sender // those that this node is subscribed to; the senders by their names
	opening map[Topic]struct{}           // those of them that the broker has not confirmed yet
	all     int                          // senders
	awaited []expectation                // in the order of their time
}

// A sender is what has come from one node in one topic.
type sender struct {
	incarnation string
	received    uint64    // the last number received; 0 if there is none
	accounted   uint64    // gaps up to this number have been reported, or are before this node's time
	settled     time.Time // until then, messages up to accounted may still come
	expected    uint64    // the last number that a heartbeat has told of
	left        bool      // it has ended, and expected is its last number

	handled atomic.Uint64 // the last number whose message has been handled
	heard   time.Time
}

// complete reports whether everything has come or been reported, up to a number.
func (s *sender) complete(number uint64) bool { return max(s.received, s.accounted) >= number }

// An expectation is a message that a heartbeat has told of and that has not come yet, or a node
// that has left and is to be forgotten.
type expectation struct {
	topic  Topic
	node   string
	from   *sender
	number uint64 // 0 to forget the node
	until  time.Time
}

// A verdict is what a number says about a message.
type verdict struct {
	fresh bool    // it has not come before
	gap   bool    // others before it are missing
	from  *sender // nil if nobody tracks it
}

// markHandled records that the message has been handled.
func (v verdict) markHandled(number uint64) {
	if v.from != nil {
		v.from.handled.Store(number)
	}
}

func newTracker() *tracker {
	return &tracker{topics: make(map[Topic]map[string]*sender), opening: make(map[Topic]struct{})}
}

// watch begins to track a topic that this node is about to be subscribed to. Heartbeats say nothing of
// it until it is confirmed: what follows them may come before this node receives the topic.
func (t *tracker) watch(topic Topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.topics[topic] == nil {
		t.topics[topic] = make(map[string]*sender)
		t.opening[topic] = struct{}{}
	}
}

// confirm records that this node receives a topic.
func (t *tracker) confirm(topic Topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.opening, topic)
}

// watches reports whether a topic is tracked.
func (t *tracker) watches(topic Topic) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.topics[topic] != nil
}

// reset forgets all numbers of a topic: the next ones may be any.
func (t *tracker) reset(topic Topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all -= len(t.topics[topic])
	clear(t.topics[topic])
}

// clear forgets everything.
func (t *tracker) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.topics)
	clear(t.opening)
	t.all, t.awaited = 0, nil
}

// unwatch ends the tracking of a topic.
func (t *tracker) unwatch(topic Topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all -= len(t.topics[topic])
	delete(t.topics, topic)
	delete(t.opening, topic)
}

// receive records the number of a message.
func (t *tracker) receive(topic Topic, node, incarnation string, number uint64) verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.topics[topic][node]
	switch {
	case s == nil:
		if s = t.add(topic, node, incarnation); s == nil {
			return verdict{fresh: true}
		}
	case s.incarnation != incarnation:
		// Nobody knows what the former incarnation still had to say, unless it has told.
		gap := !s.left || !s.complete(s.expected)
		s = &sender{incarnation: incarnation, received: number, heard: time.Now()}
		t.topics[topic][node] = s
		return verdict{fresh: true, gap: gap, from: s}
	case number <= s.received:
		return verdict{}
	case s.received == 0 && s.accounted == 0:
	case number > max(s.received, s.accounted)+1:
		s.received, s.heard = number, time.Now()
		return verdict{fresh: true, gap: true, from: s}
	}
	s.received, s.heard = number, time.Now()
	return verdict{fresh: true, from: s}
}

// add adds a node that is new in a topic, or has been dropped since it was silent for long. It
// returns nil for a topic that is not tracked. The caller holds the mutex.
func (t *tracker) add(topic Topic, node, incarnation string) *sender {
	senders := t.topics[topic]
	if senders == nil {
		return nil
	}
	if len(senders) >= maxSenders || t.all >= maxTracked && len(senders) > 0 {
		var oldest string
		for name, s := range senders {
			if oldest == "" || s.heard.Before(senders[oldest].heard) {
				oldest = name
			}
		}
		delete(senders, oldest)
		t.all--
	}
	s := &sender{incarnation: incarnation, heard: time.Now()}
	senders[node] = s
	t.all++
	return s
}

// expect records the last numbers that a node has given, which a heartbeat tells.
func (t *tracker) expect(node, incarnation string, last map[Topic]uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for topic, number := range last {
		senders := t.topics[topic]
		if _, opening := t.opening[topic]; senders == nil || opening {
			continue // this node is not subscribed to it
		}
		s := senders[node]
		switch {
		case s == nil:
			// They may have been published before this node was subscribed. Some may still arrive.
			if s = t.add(topic, node, incarnation); s != nil {
				s.accounted, s.settled = number, time.Now().Add(grace)
			}
		case s.incarnation == incarnation && number > s.expected:
			s.expected = number
			if !s.complete(number) && len(t.awaited) < maxAwaited {
				t.awaited = append(t.awaited, expectation{topic, node, s, number, time.Now().Add(grace)})
			}
		}
	}
}

// leave records that an incarnation of a node has ended, which has told its last numbers. What is
// in flight may still arrive.
func (t *tracker) leave(node, incarnation string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for topic, senders := range t.topics {
		if s := senders[node]; s != nil && s.incarnation == incarnation && !s.left {
			s.left = true
			if len(t.awaited) < maxAwaited {
				t.awaited = append(t.awaited, expectation{topic: topic, node: node, from: s, until: time.Now().Add(grace)})
			}
		}
	}
}

// forgetFormer drops all incarnations of a node but one.
func (t *tracker) forgetFormer(node, incarnation string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, senders := range t.topics {
		if s := senders[node]; s != nil && s.incarnation != incarnation {
			delete(senders, node)
			t.all--
		}
	}
}

// missing returns the expectations whose time is over, and whose messages have not come.
func (t *tracker) missing(now time.Time) (missing []expectation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for ; n < len(t.awaited) && !t.awaited[n].until.After(now); n++ {
		e := t.awaited[n]
		switch {
		case t.topics[e.topic][e.node] != e.from:
		case e.number == 0:
			delete(t.topics[e.topic], e.node)
			t.all--
		case !e.from.complete(e.number):
			e.from.accounted = e.number
			missing = append(missing, e)
		}
	}
	if t.awaited = t.awaited[n:]; len(t.awaited) == 0 {
		t.awaited = nil
	}
	return missing
}
