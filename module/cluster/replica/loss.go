package replica

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// When a node is lost, the first of its holders acts, and says so. Each of the others waits a little
// longer than the one before it, and acts unless it has heard of one that does: that one may be lost
// as well, or have no copy yet. So two may act for the same node, and never none.

const (
	// eachHolder is how long a holder waits for each that comes before it, and incompleteCopy how much
	// longer one whose copy is not complete.
	eachHolder     = time.Second
	incompleteCopy = time.Second

	// actingTime is how long the others wait for one that has said that it acts, and not that it is
	// done.
	actingTime = 30 * time.Second

	// maxTaken is for how many keys of lost nodes it is remembered that this node has acted, so that it
	// can tell those nodes if they were not lost after all, and takenFor for how long.
	maxTaken = 1_000_000
	takenFor = 10 * time.Minute

	// returnAttempts is how often a node is told that is back.
	returnAttempts = 5
)

// A lostCopy is the copy of a node that is lost, for which nobody has acted yet.
type lostCopy[K comparable, V any] struct {
	*nodeCopy[K, V]
	due    time.Time
	acting string // the node that has said that it acts; "" if none has
}

// takenKeys are those of a lost node for which this node has acted.
type takenKeys[K comparable] struct {
	node     string
	keys     []K
	since    time.Time
	attempts int // to tell the node, since it is back
}

// lose notes that a node is lost. The caller holds the mutex.
func (t *Table[K, V]) lose(change bus.Change) {
	for _, l := range t.lost {
		if l.acting == change.Node {
			l.acting, l.due = "", time.Now().Add(t.wait(l.nodeCopy))
		}
	}
	c := t.copies[change.Node]
	if c == nil || c.incarnation != change.Incarnation {
		return
	}
	if t.options.Lost == nil || t.bus == nil {
		t.drop(c)
		return
	}
	t.expectLoss(&lostCopy[K, V]{nodeCopy: c, due: time.Now().Add(t.wait(c))})
}

// expectLoss has a copy wait until it is this node's turn. The caller holds the mutex.
func (t *Table[K, V]) expectLoss(l *lostCopy[K, V]) {
	if len(t.lost) >= maxCopies {
		t.drop(l.nodeCopy)
		return
	}
	delete(t.copies, l.node)
	t.lost = append(t.lost, l)
}

// wait returns how long this node waits until it acts for a lost one.
func (t *Table[K, V]) wait(c *nodeCopy[K, V]) time.Duration {
	before := 0
	members := t.bus.Members()
	for _, node := range c.holders {
		if node == t.bus.Node() {
			break
		}
		if slices.ContainsFunc(members, func(m bus.Member) bool { return m.Node == node }) {
			before++
		}
	}
	wait := time.Duration(before) * eachHolder
	if !c.complete() {
		wait += incompleteCopy
	}
	return wait
}

// actOnLosses acts for the lost nodes for which it is this one's turn.
func (t *Table[K, V]) actOnLosses() {
	for {
		l := t.nextLoss()
		if l == nil {
			return
		}
		t.announce(l, false)
		taken := t.options.Lost(Loss[K, V]{Node: l.node, Heard: l.heard, Table: l.all()})
		t.mu.Lock()
		t.drop(l.nodeCopy)
		t.remember(l.node, taken)
		t.mu.Unlock()
		if len(taken) == 0 && l.have > 0 {
			continue // this node can do nothing: another one may
		}
		t.flush() // those who have copies of this node's table act if it is lost now
		t.announce(l, true)
	}
}

// nextLoss returns the copy of a lost node for which it is this one's turn; nil if there is none.
func (t *Table[K, V]) nextLoss() *lostCopy[K, V] {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range t.lost {
		if !l.due.After(time.Now()) {
			t.lost = slices.Delete(t.lost, i, i+1)
			return l
		}
	}
	return nil
}

// announce says that this node acts for a lost one, or that it has done so.
func (t *Table[K, V]) announce(l *lostCopy[K, V], done bool) {
	body, _ := json.Marshal(lossMessage{l.node, l.incarnation, done}) // cannot fail
	_ = t.bus.Publish(t.options.Kind+kindLoss, body, false, bus.All)  // at worst another node acts, too
}

// receiveLoss takes another node's word that it acts for a lost one.
func (t *Table[K, V]) receiveLoss(m bus.Message) error {
	var message lossMessage
	if err := json.Unmarshal(m.Body, &message); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range t.lost {
		if l.node != message.Node || l.incarnation != message.Incarnation {
			continue
		}
		if message.Done {
			t.drop(l.nodeCopy)
			t.lost = slices.Delete(t.lost, i, i+1)
		} else {
			l.acting, l.due = m.Node, time.Now().Add(actingTime)
		}
		return nil
	}
	// This node may not have found yet that the other one is lost.
	if c := t.copies[message.Node]; c != nil && c.incarnation == message.Incarnation && t.options.Lost != nil {
		t.expectLoss(&lostCopy[K, V]{nodeCopy: c, acting: m.Node, due: time.Now().Add(actingTime)})
	}
	return nil
}

// remember notes for which keys this node has acted. The caller holds the mutex.
func (t *Table[K, V]) remember(node string, keys []K) {
	if len(keys) == 0 {
		return
	}
	all := len(keys)
	for other, taken := range t.taken {
		if time.Since(taken.since) > takenFor {
			delete(t.taken, other)
			continue
		}
		all += len(taken.keys)
	}
	if all > maxTaken {
		t.logger.Error("too many sockets of lost nodes are remembered: should one of them live after all, it will not be told")
		return
	}
	t.taken[node] = &takenKeys[K]{node: node, keys: keys, since: time.Now()}
}

// tellReturned tells nodes that are back for which of their keys this one has acted.
func (t *Table[K, V]) tellReturned() {
	t.mu.Lock()
	returns := t.returns
	t.returns = nil
	t.mu.Unlock()
	for _, taken := range returns {
		left, err := t.tellTaken(taken)
		if err == nil || t.ctx.Err() != nil {
			continue
		}
		t.logger.Warn("node that was declared lost cannot be told", zap.String("node", taken.node), zap.Error(err))
		if taken.keys = left; taken.attempts < returnAttempts {
			taken.attempts++
			t.mu.Lock()
			t.returns = append(t.returns, taken)
			t.mu.Unlock()
		}
	}
}

// tellTaken tells a node in pieces. It returns the keys that are left when that fails.
func (t *Table[K, V]) tellTaken(taken *takenKeys[K]) (left []K, err error) {
	left = taken.keys
	for len(left) > 0 {
		var body []byte
		n := 0
		for ; n < len(left) && len(body) < maxPiece; n++ {
			body = entry{key: t.options.Codec.AppendKey(nil, left[n]), gone: true}.append(body)
		}
		ctx, cancel := context.WithTimeout(t.ctx, fetchTimeout)
		answers, err := t.bus.Request(ctx, t.options.Kind+kindTaken, body, taken.node)
		cancel()
		if err != nil {
			return left, err
		}
		text, ok := answers.Nodes[taken.node]
		if !ok {
			return left, errNoAnswer
		}
		alive, err := t.readKeys(text)
		if err != nil {
			return left, err
		}
		asked := make(map[K]bool, n)
		for _, key := range left[:n] {
			asked[key] = true
		}
		alive = slices.DeleteFunc(alive, func(key K) bool { return !asked[key] })
		if len(alive) > 0 {
			t.options.Back(alive)
		}
		left = left[n:]
	}
	return nil, nil
}

// answerTaken takes another node's word that it has acted for keys of this one.
func (t *Table[K, V]) answerTaken(_ context.Context, r bus.Request) ([]byte, error) {
	keys, err := t.readKeys(r.Body)
	if err != nil {
		return nil, err
	}
	var body []byte
	for _, key := range t.options.Taken(keys) {
		body = entry{key: t.options.Codec.AppendKey(nil, key), gone: true}.append(body)
	}
	return body, nil
}

// readKeys reads keys, which are entries without values.
func (t *Table[K, V]) readKeys(body []byte) ([]K, error) {
	entries, err := t.readEntries(body)
	if err != nil {
		return nil, err
	}
	keys := make([]K, len(entries))
	for i, e := range entries {
		if !e.gone {
			return nil, errors.New("it has a value where a key is expected")
		}
		keys[i] = e.k
	}
	return keys, nil
}
