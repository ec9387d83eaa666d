package realtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// An arrival is a client that has come to this node with the private id of a socket that another node
// has. takeover.go says how the nodes go about it.
//
// What the client has missed are the events that the owner knows, and then those in this node's history
// that the owner had not recorded when it let the socket go. To know these from one another, the nodes
// compare the numbers that each publisher has given its messages in each topic. That nothing is missing
// in between takes two things:
//
//   - Of topics that this node has not received for long, the owner must have recorded everything
//     that was published before. So all nodes are asked for their last numbers, after this node has
//     begun to receive, and the owner waits until it has heard of these.
//   - What the owner has recorded may come to this node later. The socket does not get it again
//     (recoveryState.got).
type arrival struct {
	hub       *Hub
	store     *recoveryStore
	epoch     string // of the store's history when the arrival began
	handshake *Handshake
	claim     claim
	offset    string

	owner       string
	fingerprint *fingerprint           // of the authentication at the owner; nil if there was none
	shards      []int                  // that are watched for the arrival
	numbers     map[string]bus.Numbers // of topics that this node has not received for long
	asked       time.Time              // when the owner was asked last
	settled     func()                 // ends the time in which the socket is on its way
}

const (
	// maxArrivals is how many clients' sockets are taken over at a time. Others wait for their turn.
	maxArrivals = 256

	// maxArrivalWait is how long what is asked of this node's sockets waits for those on their way.
	maxArrivalWait = 2 * time.Second

	// maxTries is how often the owner is asked for a socket that joins more rooms meanwhile.
	maxTries = 3
)

var (
	errNoAnswer      = errors.New("node does not answer")
	errNewHistory    = errors.New("events of other nodes may be missing")
	errAlreadyThere  = errors.New("a socket with its id is there already")
	errRecoveryIsOff = errors.New("recovery is off")
)

// takeOver recovers the socket of a client that another node has. If both the socket and the error are
// nil, the client must get a new one. Stale is then called once the client is accepted or refused, with
// its new socket, if any; it may be nil.
func (h *Hub) takeOver(ctx context.Context, namespace string, handshake *Handshake, request recoveryRequest, conn RecoverableConn) (s *Socket, stale func(*Socket), err error) {
	tag, ok := tagOf(request.PID)
	if !ok || h.bus.Peers() == 0 {
		return nil, nil, nil
	}
	policy, release := handshake.Endpoint.acquire()
	defer release()
	if !policy.allows(namespace) {
		return nil, nil, ErrInvalidNamespace
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxRecoveryWait, errNoAnswer)
	defer cancel()
	select {
	case h.arrivals.slots <- struct{}{}:
		defer func() { <-h.arrivals.slots }()
	case <-ctx.Done():
		return nil, nil, nil
	}
	a := &arrival{
		hub:       h,
		handshake: handshake,
		claim:     claim{namespace, handshake.Endpoint.name, request.PID},
		offset:    request.Offset,
	}
	found, err := a.find(ctx, tag)
	if a.owner != "" {
		stale = a.end
	}
	if found == nil {
		a.logFailure(err)
		return nil, stale, nil
	}
	if !found.Recoverable || !a.authenticatedBy(found, policy) {
		return nil, stale, nil
	}
	if err := a.hold(policy); err != nil {
		a.logFailure(err)
		return nil, stale, nil
	}
	defer a.letGo()
	a.settled = sync.OnceFunc(h.arrivals.begin())
	defer a.settled()
	taken, err := a.take(ctx, found.Rooms)
	if err != nil {
		a.logFailure(err)
		return nil, stale, nil
	}
	return a.receive(ctx, taken, policy, conn)
}

func (a *arrival) logFailure(err error) {
	if err != nil {
		a.hub.limited.Warn("socket cannot be taken over from another node: its client gets a new one",
			zap.String("namespace", a.claim.Namespace), zap.String("node", a.owner), zap.Error(err))
	}
}

// hold has the namespace record events, and keeps it until letGo.
func (a *arrival) hold(p *Policy) error {
	for {
		n, err := a.hub.findOrAdd(a.claim.Namespace, p)
		if err != nil {
			return err
		}
		r := n.recovery.Load()
		if r == nil {
			a.hub.removeIfUnused(n)
			return errRecoveryIsOff
		}
		if a.epoch = r.hold(); a.epoch != "" {
			a.store = r
			return nil
		}
	}
}

func (a *arrival) letGo() {
	if len(a.shards) > 0 {
		a.hub.bus.Unwatch(a.shards...)
	}
	a.store.letGo()
	a.hub.removeIfUnused(a.store.namespace)
}

// hold keeps the store from being removed while it is empty, until letGo. It returns the epoch of its
// history; "" if it has been removed.
func (r *recoveryStore) hold() (epoch string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ""
	}
	r.arriving++
	return r.history.epoch
}

func (r *recoveryStore) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arriving--
}

// find asks who has the socket: the node that the private id names, or all if that is gone or has the
// socket no more. It returns nil if nobody has. The owner is then the one that may have it; "" if none may.
func (a *arrival) find(ctx context.Context, tag string) (*takeoverFound, error) {
	named, ok := a.hub.bus.Tagged(tag)
	if a.offset == "" { // it has got no event, and does not know its place
		a.owner = named
		return nil, nil
	}
	if ok {
		a.owner = named
		found, missing, err := a.askForSocket(ctx, named)
		switch {
		case found != nil || err != nil:
			return found, err
		case len(missing) > 0:
			return nil, errNoAnswer
		}
		a.owner = ""
	}
	found, _, err := a.askForSocket(ctx)
	return found, err
}

func (a *arrival) askForSocket(ctx context.Context, nodes ...string) (found *takeoverFound, missing []string, err error) {
	answers, err := a.request(ctx, kindTakeoverFind, &takeoverFind{a.claim, a.offset}, nodes...)
	if err != nil {
		return nil, nil, err
	}
	for node, body := range answers.Nodes {
		f := new(takeoverFound)
		if err := decodeAnswer(body, f); err != nil {
			return nil, nil, fmt.Errorf("answer of node %q: %w", node, err)
		}
		if f.Found {
			a.owner, found = node, f
		}
	}
	return found, answers.Missing, nil
}

func (a *arrival) request(ctx context.Context, kind string, body any, nodes ...string) (bus.Answers, error) {
	var b bytes.Buffer
	if err := rawjson.Encode(&b, body); err != nil {
		return bus.Answers{}, fmt.Errorf("encoding request: %w", err)
	}
	return a.hub.bus.Request(ctx, kind, b.Bytes(), nodes...)
}

// authenticatedBy reports whether the client was accepted by authenticators like those of the policy.
func (a *arrival) authenticatedBy(found *takeoverFound, p *Policy) bool {
	if found.Authentication == "" {
		return p.Authentication == ""
	}
	var err error
	a.fingerprint, err = a.hub.fingerprints.parse(found.Authentication)
	return err == nil && a.fingerprint.matches(p.Authentication)
}

// take asks the owner for the socket, which is in rooms.
func (a *arrival) take(ctx context.Context, rooms []string) (*takenSocket, error) {
	for range maxTries {
		if err := a.watch(ctx, rooms); err != nil {
			return nil, err
		}
		if topics := a.store.topicsSince(time.Now().Add(-bus.InFlight), a.topics()); len(topics) > 0 {
			var err error
			if a.numbers, err = a.hub.bus.Numbers(ctx, topics...); err != nil {
				return nil, err
			}
		}
		a.asked = time.Now()
		answers, err := a.request(ctx, kindTakeover, &takeover{takeoverFind{a.claim, a.offset}, a.shards, a.numbers}, a.owner)
		if err != nil {
			return nil, err
		}
		body, ok := answers.Nodes[a.owner]
		if !ok {
			return nil, errNoAnswer
		}
		taken := new(takenSocket)
		if err := decodeAnswer(body, taken); err != nil {
			return nil, err
		}
		if taken.More == nil {
			return taken, nil
		}
		rooms = taken.More
	}
	return nil, errors.New("the socket joins rooms all the time")
}

// watch has this node receive what is sent to rooms.
func (a *arrival) watch(ctx context.Context, rooms []string) error {
	var shards []int
	for _, room := range rooms {
		shard := bus.Shard(a.claim.Namespace, room)
		if !isSocketID(room) && !slices.Contains(a.shards, shard) && !slices.Contains(shards, shard) {
			shards = append(shards, shard)
		}
	}
	a.shards = append(a.shards, shards...)
	ctx, cancel := context.WithTimeout(ctx, maxWatch)
	defer cancel()
	return a.hub.bus.Watch(ctx, shards...)
}

// topics returns the topics of everything that can be sent to the socket.
func (a *arrival) topics() []bus.Topic {
	topics := []bus.Topic{bus.All}
	for _, shard := range a.shards {
		topics = append(topics, bus.ShardTopic(shard))
	}
	return topics
}

// topicsSince returns those of the topics whose events are recorded since a time or later only.
func (r *recoveryStore) topicsSince(begin time.Time, topics []bus.Topic) []bus.Topic {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.After(begin) {
		return topics
	}
	return slices.DeleteFunc(topics, func(topic bus.Topic) bool {
		since, ok := r.namespace.hub.bus.Since(topic)
		return ok && since.Before(begin)
	})
}

// end tells the owner that the client has another socket instead, or none.
func (a *arrival) end(instead *Socket) {
	if instead == nil || instead.recovery == nil {
		a.hub.Go(func() { a.sendEnd(false) })
		return
	}
	a.hub.Go(func() {
		if ended := a.sendEnd(false); ended != nil {
			instead.recovery.inheritSessions(ended.Sessions)
		}
	})
}

// sendEnd tells the owner what became of the socket, until it has understood. It returns nil if it has
// not: then the owner tells its handlers that the client has not come back.
func (a *arrival) sendEnd(taken bool) *takeoverEnded {
	ctx, cancel := context.WithTimeout(a.hub.ctx, maxEnd)
	defer cancel()
	for a.hub.bus.Lives(a.owner) && ctx.Err() == nil {
		try, stop := context.WithTimeout(ctx, endTimeout)
		answers, err := a.request(try, kindTakeoverEnd, &takeoverEnd{a.claim, taken}, a.owner)
		ended := new(takeoverEnded)
		if err == nil && answers.Nodes[a.owner] != nil && decodeAnswer(answers.Nodes[a.owner], ended) == nil {
			stop()
			return ended
		}
		<-try.Done() // not more often
		stop()
	}
	return nil
}

const (
	// endTimeout is how long the owner has to confirm a takeoverEnd until it is sent again, and maxEnd
	// how long that is tried.
	endTimeout = 2 * time.Second
	maxEnd     = time.Minute
)

// check implements takeover's part of decodeAnswer.
func (t *takenSocket) check() error {
	if t.More != nil {
		return checkNames(t.More)
	}
	s := &t.Socket
	if s.ID == "" || s.State.PID == "" || len(t.Heard) > maxHeard || len(t.Ages) > len(s.Rooms) || len(t.Copies) > maxCopies || len(s.State.Sessions) > maxEarlierSessions {
		return errors.New("it is not a socket")
	}
	for _, names := range [][]string{s.Rooms, {s.ID, s.User, s.Session}, s.State.Sessions} {
		if err := checkNames(names); err != nil {
			return err
		}
	}
	for _, room := range s.Rooms {
		if room == "" || len(room) > MaxRoomName {
			return errors.New("it has a room without a name")
		}
	}
	return nil
}

// receive adds the socket to this node, and gives it to its client.
func (a *arrival) receive(ctx context.Context, taken *takenSocket, p *Policy, conn RecoverableConn) (s *Socket, stale func(*Socket), err error) {
	if taken.Socket.State.PID != a.claim.PID {
		a.logFailure(errNotThere)
		return nil, a.end, nil
	}
	state, d, err := a.store.importSocket(a, taken)
	a.settled()
	if err != nil {
		a.logFailure(err)
		return nil, a.end, nil
	}
	a.hub.Go(func() { a.sendEnd(true) })
	s, _, err = a.store.restoreImported(state, a.offset, a.handshake, conn)
	if s == nil {
		// The client is away again. The handlers of this node have never heard of the socket: they
		// learn that it has disconnected.
		d.socket.ended = true
		for _, handler := range p.Handlers {
			p.callDisconnect(a.hub.ctx, handler, d.socket, reason.TransportClose)
		}
		if !a.store.markReady(d, d.socket) {
			p.notifyUnrecoverable(d.socket)
		}
		return nil, state.discard, err
	}
	p.announceConnect(ctx, s, nil)
	return s, nil, nil
}

// importSocket adds a socket that another node has handed over. Its client may not recover it yet.
func (r *recoveryStore) importSocket(a *arrival, taken *takenSocket) (*recoveryState, *disconnectedSocket, error) {
	missed := make([]*Message, len(taken.Missed))
	for i := range taken.Missed {
		m, err := taken.Missed[i].message(r.namespace.newMessage)
		if err != nil {
			return nil, nil, fmt.Errorf("an event that the client has missed: %w", err)
		}
		missed[i] = m
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	switch {
	case r.closed:
		return nil, nil, errRecoveryIsOff
	case n.sealed.Load():
		return nil, nil, ErrSealed
	case r.history.epoch != a.epoch:
		return nil, nil, errNewHistory
	case r.states[a.claim.PID] != nil:
		return nil, nil, errAlreadyThere
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	one := &taken.Socket
	one.Rooms = slices.DeleteFunc(one.Rooms, func(room string) bool { return room == one.ID || n.isSocketRoomLocked(room) })
	if n.hasIDLocked(one.ID) {
		return nil, nil, errAlreadyThere
	}
	r.forgetMoved(a.claim.PID)
	last := r.history.last
	state := &recoveryState{
		store: r, pid: a.claim.PID, epoch: a.epoch, fingerprint: a.fingerprint,
		start: last, lastSent: last, left: last,
		sessions: one.State.Sessions,
		copies:   make(map[copyKey]struct{}),
	}
	state.data.members = one.Data
	fresh := newUnheard(a, taken, state)
	missed = append(missed, fresh.of(r)...)
	r.importEvents(state, a.offset, missed)
	for _, up := range taken.Heard {
		if up.Number > r.heard.last(up.Topic, up.publisher) {
			state.ahead.raise(up.Topic, up.publisher, up.Number, time.Now())
		}
	}
	now := time.Now()
	d := &disconnectedSocket{
		socket: &Socket{
			id:        one.ID,
			namespace: n,
			endpoint:  a.handshake.Endpoint,
			conn:      noConn{},
			session:   one.Session,
			user:      one.User,
			connected: now,
			expires:   one.Expires,
			recovery:  state,
			gone:      true,
		},
		conn:  noConn{},
		since: now,
	}
	d.socket.events.Store(one.Events)
	r.states[state.pid] = state
	r.addDisconnected(d, one.Rooms)
	for _, room := range one.Rooms {
		state.join(room, fresh.rooms[room])
	}
	r.startTimer()
	return state, d, nil
}

// restoreImported is restore for the client with which a socket was taken over.
func (r *recoveryStore) restoreImported(state *recoveryState, offset string, h *Handshake, conn RecoverableConn) (*Socket, recoveryWait, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || state.disconnected == nil {
		return nil, recoveryWait{}, nil
	}
	return r.restoreLocked(state, offset, h, conn)
}

// arrivals are those that are under way.
type arrivals struct {
	slots chan struct{} // has one for each

	mu      sync.Mutex
	running map[chan struct{}]struct{} // those whose sockets are on their way to this node
}

func newArrivals() arrivals { return arrivals{slots: make(chan struct{}, maxArrivals)} }

// begin notes that a socket is on its way. It is there, or not, when the caller calls end.
func (a *arrivals) begin() (end func()) {
	done := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == nil {
		a.running = make(map[chan struct{}]struct{})
	}
	a.running[done] = struct{}{}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.running, done)
		close(done)
	}
}

// wait waits for the sockets that are on their way now, but not for long.
func (a *arrivals) wait(ctx context.Context) {
	a.mu.Lock()
	running := make([]chan struct{}, 0, len(a.running))
	for done := range a.running {
		running = append(running, done)
	}
	a.mu.Unlock()
	if len(running) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxArrivalWait)
	defer cancel()
	for _, done := range running {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}
