package realtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// A client whose connection has broken may come back at another node. That node takes the socket over
// from its owner, in three requests (arrival.go has the other side):
//
//  1. takeoverFind: the owner ends the old connection if it does not know yet that it is broken, waits
//     until the handlers are done with it, and tells the socket's rooms. The new node begins to receive
//     what is sent to them.
//  2. takeover: the owner removes the socket and tells everything: what it is, what its client has
//     missed, and up to which message of each node that goes.
//  3. takeoverEnd: the new node has the socket, or the client has got another one.
//
// Once the owner has removed the socket, it never brings it back: the new node may have it. It is the
// owner that tells its handlers that the client has not come back, unless takeoverEnd says in time that
// the new node has the socket.

// The kinds of these requests.
const (
	kindTakeoverFind = "takeover-find"
	kindTakeover     = "takeover"
	kindTakeoverEnd  = "takeover-end"
)

// A claim is what proves that a client is a socket's.
type claim struct {
	Namespace string `json:"namespace"`
	Endpoint  string `json:"endpoint"`
	PID       string `json:"pid"`
}

func (c *claim) check() error {
	if c.Namespace == "" {
		return errNoNamespace
	}
	return checkNames([]string{c.Namespace, c.Endpoint, c.PID})
}

// store returns the recovery store that may have the socket; nil if there is none.
func (c *claim) store(h *Hub) *recoveryStore {
	if n := h.find(c.Namespace); n != nil {
		return n.recovery.Load()
	}
	return nil
}

// A takeoverFind asks whether a node has a socket.
type takeoverFind struct {
	claim
	Offset string `json:"offset"`
}

// A takeoverFound tells it. Without Found, the rest is empty.
type takeoverFound struct {
	Found bool `json:"found,omitempty"`
	// Recoverable means that the client can have the socket.
	Recoverable bool `json:"recoverable,omitempty"`
	// Authentication is the fingerprint of the one that accepted the client, if any.
	Authentication string   `json:"authentication,omitempty"`
	Rooms          []string `json:"rooms,omitempty"`
}

func (f *takeoverFound) check() error {
	if len(f.Authentication) > 2*fingerprintSize*2 {
		return errors.New("its fingerprint is too long")
	}
	return checkNames(f.Rooms)
}

// A takeover asks for a socket.
type takeover struct {
	takeoverFind
	// Shards are what the new node receives.
	Shards []int `json:"shards,omitempty"`
	// Numbers are what has been published to topics that the new node has not received for long.
	Numbers map[string]bus.Numbers `json:"numbers,omitempty"`
}

func (t *takeover) check() error {
	if len(t.Shards) > bus.Shards || len(t.Numbers) > maxNames {
		return errors.New("it has too many numbers")
	}
	return t.claim.check()
}

// A takenSocket is what becomes of a takeover.
type takenSocket struct {
	// More are rooms that the new node must receive, too. Then nothing has happened.
	More []string `json:"more,omitempty"`

	Socket socketSnapshot `json:"socket"`
	Missed []missedEvent  `json:"missed,omitempty"`
	// Heard says up to which number of each publisher the owner has recorded events, in the topics
	// that concern the socket.
	Heard []heardUpTo `json:"heard,omitempty"`
	// Received has, by the same topics, for how long the owner has received them.
	Received map[bus.Topic]int64 `json:"received"`
	// Ages has for how long the socket has been in its rooms. In one that is left out, it was before all
	// events.
	Ages map[string]time.Duration `json:"ages,omitempty"`
	// Took is for how long the owner has worked on the answer. All times are in nanoseconds.
	Took int64 `json:"took"`
	// Copies are the broadcasts of which the client has got a copy, or misses one in Missed, and of
	// which other copies may still come.
	Copies []copyKey `json:"copies,omitempty"`
}

// A missedEvent is an event that a client has missed.
type missedEvent struct {
	remoteBroadcast // without its namespace and target
}

type heardUpTo struct {
	publisher
	Topic  bus.Topic `json:"topic"`
	Number uint64    `json:"number"`
}

// A takeoverEnd says what became of a socket.
type takeoverEnd struct {
	claim
	// Taken means that the other node has it. If not, its client has got another one.
	Taken bool `json:"taken,omitempty"`
}

// A takeoverEnded has the sessions that a client had whose socket is gone.
type takeoverEnded struct {
	Sessions []string `json:"sessions,omitempty"`
}

func (e *takeoverEnded) check() error {
	if len(e.Sessions) > maxEarlierSessions+1 {
		return errors.New("it has too many sessions")
	}
	return checkNames(e.Sessions)
}

// answerTakeovers has the hub answer what other nodes ask.
func (h *Hub) answerTakeovers() {
	h.bus.Answer(kindTakeoverFind, answerTo(h.findSocket))
	h.bus.Answer(kindTakeover, answerTo(h.handOver))
	h.bus.Answer(kindTakeoverEnd, answerTo(h.endTakeover))
}

// answerTo returns a function that reads a request, answers it, and writes the answer.
func answerTo[Q any, P interface {
	*Q
	check() error
}, A any](answer func(ctx context.Context, node string, request *Q) (*A, error)) bus.AnswerFunc {
	return func(ctx context.Context, r bus.Request) ([]byte, error) {
		request := new(Q)
		if err := decodeOperation(r.Body, request); err != nil {
			return nil, err
		}
		if err := P(request).check(); err != nil {
			return nil, err
		}
		result, err := answer(ctx, r.Node, request)
		if err != nil {
			return nil, err
		}
		var body bytes.Buffer
		if err := rawjson.Encode(&body, result); err != nil {
			return nil, fmt.Errorf("encoding answer: %w", err)
		}
		return body.Bytes(), nil
	}
}

// decodeAnswer reads what another node has answered. The broker is not trusted.
func decodeAnswer(body []byte, answer interface{ check() error }) error {
	if !utf8.Valid(body) {
		return errNotUTF8
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("reading answer: %w", err)
	}
	return answer.check()
}

var (
	errUnknownNode = errors.New("it has not heard of this node yet")
	errNotThere    = errors.New("the socket is not there any more")
)

// findSocket answers a takeoverFind.
func (h *Hub) findSocket(ctx context.Context, node string, f *takeoverFind) (*takeoverFound, error) {
	r := f.store(h)
	if r == nil {
		return new(takeoverFound), nil
	}
	state := r.find(f.PID, f.Endpoint)
	switch {
	case state == nil:
		return new(takeoverFound), nil
	case !h.bus.Lives(node): // events may not be published as long as this node believes that it is alone
		return nil, errUnknownNode
	case r.namespace.sealed.Load():
		return nil, ErrSealed
	}
	for {
		wait, ready := r.readiness(state)
		switch {
		case ready:
			return r.found(state, f.Offset), nil
		case wait.changed == nil:
			return new(takeoverFound), nil
		case wait.close != nil:
			wait.close.closeReplaced()
		}
		select {
		case <-wait.changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// readiness is state.readiness for a caller that does not hold the mutex.
func (r *recoveryStore) readiness(state *recoveryState) (recoveryWait, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return state.readiness()
}

// found returns what is told of a socket that a client asks for.
func (r *recoveryStore) found(state *recoveryState, offset string) *takeoverFound {
	f := &takeoverFound{Found: true, Authentication: r.namespace.hub.fingerprints.of(state)}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := state.disconnected
	if r.closed || d == nil {
		return f
	}
	r.prune()
	if _, ok := r.missed(state, offset); ok && !d.socket.expired() {
		r.namespace.mu.RLock()
		defer r.namespace.mu.RUnlock()
		f.Recoverable, f.Rooms = true, d.socket.roomNames()
	}
	return f
}

// handOver answers a takeover.
func (h *Hub) handOver(ctx context.Context, node string, t *takeover) (*takenSocket, error) {
	r := t.store(h)
	if r == nil {
		return nil, errNotThere
	}
	state := r.find(t.PID, t.Endpoint)
	switch {
	case state == nil:
		return nil, errNotThere
	case !h.bus.Lives(node):
		return nil, errUnknownNode
	}
	begin := time.Now()
	if err := h.bus.AwaitHandled(ctx, t.Numbers); err != nil {
		return nil, fmt.Errorf("waiting for what other nodes have published: %w", err)
	}
	fingerprints := map[string]*fingerprint{state.authentication: h.fingerprints.get(state.authentication)}
	taken, err := r.handOver(state, t, node, fingerprints)
	if err == nil && taken.More == nil {
		taken.Took = time.Since(begin).Nanoseconds()
		h.logger.Info("socket has been handed over to another node",
			zap.String("socket", taken.Socket.ID), zap.String("namespace", t.Namespace), zap.String("node", node))
	}
	return taken, err
}

// handOver removes a socket, and returns everything of it.
func (r *recoveryStore) handOver(state *recoveryState, t *takeover, node string, fingerprints map[string]*fingerprint) (*takenSocket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.namespace.sealed.Load() {
		return nil, ErrSealed
	}
	r.prune()
	if _, ready := state.readiness(); !ready {
		return nil, errNotThere
	}
	d := state.disconnected
	missed, ok := r.missed(state, t.Offset)
	if !ok || d.socket.expired() {
		return nil, errors.New("what the client has missed is not known any more")
	}
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	taken := &takenSocket{Received: make(map[bus.Topic]int64)}
	topics := []bus.Topic{bus.All}
	for _, room := range d.socket.roomNames() {
		if isSocketID(room) {
			continue
		}
		shard := bus.Shard(n.name, room)
		if topic := bus.ShardTopic(shard); !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
		if !slices.Contains(t.Shards, shard) {
			taken.More = append(taken.More, room)
		}
	}
	if taken.More != nil {
		return taken, nil
	}
	size := 0
	for _, m := range missed {
		size += m.textSize()
		event := newRemoteBroadcast(m, new(target))
		event.Namespace = ""
		taken.Missed = append(taken.Missed, missedEvent{event})
	}
	if size > maxTakenEvents {
		return nil, fmt.Errorf("what the client has missed is too large: %d bytes", size)
	}
	taken.Socket = d.snapshot(fingerprints)
	taken.Socket.State = recoveryStateSnapshot{PID: state.pid, Sessions: state.sessions}
	taken.Ages = state.memberships.ages(time.Since(r.began))
	taken.Copies = r.copiesOf(state)
	r.tellHeard(taken, topics, &state.ahead)
	r.move(d, node)
	return taken, nil
}

// maxTakenEvents is how many bytes the events take that a client has missed, of the answer that a node
// can give.
const maxTakenEvents = bus.MaxAnswer - 1<<20

// tellHeard tells up to which numbers the store has recorded events of topics, or the owner before this
// node, which is ahead. The caller of it and of copiesOf holds the mutex.
func (r *recoveryStore) tellHeard(taken *takenSocket, topics []bus.Topic, ahead *heard) {
	now := time.Now()
	for _, topic := range topics {
		since, ok := r.namespace.hub.bus.Since(topic)
		if !ok {
			since = now
		}
		taken.Received[topic] = min(now.Sub(since), now.Sub(r.since)).Nanoseconds()
		numbers := maps.Clone(ahead.topics[topic])
		if numbers == nil {
			numbers = r.heard.topics[topic]
		} else {
			for from, last := range r.heard.topics[topic] {
				if last.number > numbers[from].number {
					numbers[from] = last
				}
			}
		}
		for from, last := range numbers {
			taken.Heard = append(taken.Heard, heardUpTo{from, topic, last.number})
		}
	}
}

// copiesOf returns the broadcasts of which a copy was for the socket and another one may still come.
func (r *recoveryStore) copiesOf(state *recoveryState) []copyKey {
	var keys []copyKey
	if state.imported != nil && time.Since(state.imported.at) <= bus.InFlight {
		keys = slices.Collect(maps.Keys(state.copies))
	}
	number := r.history.last
	for _, one := range slices.Backward(r.history.records) {
		if time.Since(one.at) > bus.InFlight {
			break
		}
		key, ok := one.origin.key()
		if ok && number > state.start && state.selects(number, &one.to) {
			keys = append(keys, key)
		}
		number--
	}
	return keys
}

// endTakeover answers a takeoverEnd.
func (h *Hub) endTakeover(_ context.Context, _ string, e *takeoverEnd) (*takeoverEnded, error) {
	r := e.store(h)
	if r == nil {
		return new(takeoverEnded), nil
	}
	if s := r.settle(e); s != nil {
		policy, release := s.endpoint.acquire()
		defer release()
		if e.Taken {
			policy.notifyMoved(s)
		} else {
			policy.notifyUnrecoverable(s)
		}
		return &takeoverEnded{s.recovery.takenSessions(s.session)}, nil
	}
	state := r.find(e.PID, e.Endpoint)
	if e.Taken || state == nil {
		return new(takeoverEnded), nil
	}
	return &takeoverEnded{state.revokeStale()}, nil
}
