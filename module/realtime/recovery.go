package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// Recovery are the settings of connection state recovery: a client whose
// connection broke gets its socket back, and what it missed meanwhile.
// https://socket.io/docs/v4/connection-state-recovery
type Recovery struct {
	// Window is how long a client may be away. Default 0: nothing is recovered,
	// held or sent for it.
	Window time.Duration
	// MaxEvents is how many events of each namespace are held for clients that
	// are away. Default 10,000.
	MaxEvents int
}

// DefaultMaxEvents is how many events of a namespace are held where the
// settings do not say.
const DefaultMaxEvents = 10_000

// A recovery is what a namespace holds for the clients that may come back. It
// exists while recovery is on. Its mutex is held while an event is numbered and
// delivered, so that the order of the history is that of every client; it is
// taken before the namespace's.
type recovery struct {
	namespace *Namespace

	mu        sync.Mutex
	settings  Recovery
	closed    bool
	history   history
	absentees absentees
	timer     *time.Timer // runs while anything is held; nil otherwise
}

func newRecovery(n *Namespace, settings Recovery) *recovery {
	r := &recovery{namespace: n, history: newHistory()}
	r.set(settings)
	return r
}

// set changes the settings.
func (r *recovery) set(settings Recovery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if settings.MaxEvents <= 0 {
		settings.MaxEvents = DefaultMaxEvents
	}
	r.settings = settings
	r.tidy()
	if r.timer != nil {
		r.timer.Reset(r.settings.Window)
	}
}

// close forgets everything.
func (r *recovery) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.absentees = absentees{}
	r.namespace.mu.RLock()
	r.history.records = nil
	r.namespace.mu.RUnlock()
	if r.timer != nil {
		r.timer.Stop()
	}
}

// record enters a message into the history. The caller holds the mutexes of
// both, and chooses the recipients before it releases that of the namespace.
func (r *recovery) record(m *Message, to audience) {
	r.history.append(m, to)
	r.history.prune(r.horizon(), r.settings.MaxEvents)
	r.startTimer()
}

// horizon returns the time before which nothing is held.
func (r *recovery) horizon() time.Time { return time.Now().Add(-r.settings.Window) }

// tidy forgets what is too old or too much.
func (r *recovery) tidy() {
	r.absentees.prune(r.horizon())
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
	r.history.prune(r.horizon(), r.settings.MaxEvents)
}

func (r *recovery) startTimer() {
	if r.timer == nil {
		r.timer = time.AfterFunc(r.settings.Window, r.tick)
	}
}

// tick is called by the timer.
func (r *recovery) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.tidy()
	if len(r.history.records) == 0 && r.absentees.oldest() == nil {
		r.timer = nil
		return
	}
	for _, record := range r.history.records {
		record.message.forgetEncodings() // made for those who came back
	}
	r.timer.Reset(r.settings.Window/8 + time.Millisecond)
}

// emit sends an event to a socket's client, or keeps it until that comes back.
func (r *recovery) emit(s *Socket, m *Message, in *Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	switch {
	case n.sealed.Load():
		return ErrSealed
	case r.closed:
		return s.conn.Deliver(m, in)
	}
	n.mu.RLock()
	r.record(m, audience{rooms: []string{s.id}})
	present := n.sockets[s.id] // not s itself if the client has come back meanwhile
	n.mu.RUnlock()
	defer m.forgetEncodings()
	if present != nil {
		present.trail.sent = r.history.last
		_ = present.conn.Deliver(m, in) // whoever does not get it now can come back for it
	}
	return nil
}

// recoverable reports whether a client whose connection ended for a reason may
// come back to its socket. Who left, was sent away or broke the rules may not.
func recoverable(why string) bool {
	switch why {
	case reason.TransportClose, reason.TransportError, reason.PingTimeout,
		reason.ForcedClose, reason.ShuttingDown, reason.SlowConsumer:
		return true
	}
	return false
}

// ReturnWindow returns for how long the client of a socket that ends for a
// reason may come back to it; 0 if it may not.
func (s *Socket) ReturnWindow(reason string) time.Duration {
	if s.trail == nil || !recoverable(reason) {
		return 0
	}
	r := s.trail.recovery
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0
	}
	return r.settings.Window
}

// keep remembers a socket that is about to leave the namespace. Its client may
// come back once the socket's end has been dealt with and settle is called.
func (r *recovery) keep(s *Socket) *absentee {
	a := &absentee{id: s.id, endpoint: s.endpoint.name, user: s.user, expires: s.expires, trail: s.trail, since: time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return a
	}
	r.absentees.add(a)
	r.absentees.prune(r.horizon())
	r.startTimer()
	return a
}

// settle lets the client of an absentee come back. s is the socket that it was.
func (r *recovery) settle(a *absentee, s *Socket) {
	data, rooms := s.Data(), s.Rooms()
	r.mu.Lock()
	defer r.mu.Unlock()
	a.data, a.rooms, a.events, a.ready = data, rooms, s.events, true
}

// A ticket is what a client that comes back shows.
type ticket struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// readTicket reads what a client authenticates itself with. Without an offset
// it has got no event, and has nothing to come back to.
func readTicket(auth json.RawMessage) (t ticket, ok bool) {
	if len(auth) == 0 || json.Unmarshal(auth, &t) != nil {
		return ticket{}, false
	}
	return t, t.PID != "" && t.Offset != ""
}

// restore gives a client that comes back its socket, at once with respect to
// every event. Both results are nil if it must start anew.
func (r *recovery) restore(t ticket, h *Handshake, conn RecoverableConn) (*Socket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil
	}
	r.tidy()
	a := r.absentees.get(t.PID)
	if a == nil || !a.ready || a.endpoint != h.Endpoint.name {
		return nil, nil
	}
	missed, ok := r.missed(a, t.Offset)
	if !ok || a.expired() {
		r.absentees.remove(a) // what it missed can only become more
		return nil, nil
	}
	s := &Socket{
		id:        a.id,
		namespace: r.namespace,
		endpoint:  h.Endpoint,
		conn:      conn,
		session:   h.Session,
		user:      a.user,
		data:      a.data,
		expires:   a.expires,
		trail:     a.trail,
		events:    a.events,
		recovered: true,
		peer:      h.peer(),
		connected: time.Now(),
	}
	switch err := conn.Recovered(s, missed); {
	case errors.Is(err, ErrBacklog):
		r.absentees.remove(a)
		return nil, nil
	case err != nil:
		return nil, err // it has gone again, and may come back once more
	}
	r.namespace.readmit(s, a.rooms)
	r.absentees.remove(a)
	if len(missed) > 0 {
		number, _ := r.history.number(missed[len(missed)-1].Offset())
		a.trail.sent = max(a.trail.sent, number)
	}
	return s, nil
}

// missed returns what the client of an absentee has not got. It reports false
// if that is not known any more.
func (r *recovery) missed(a *absentee, offset string) ([]*Message, bool) {
	number, ok := r.history.number(offset)
	if !ok || a.trail.epoch != r.history.epoch { // something is missing that nobody knows
		return nil, false
	}
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
	t := a.trail
	number = max(number, t.since) // clients keep the offset of an earlier life
	switch {
	case number > t.sent:
		return nil, false // what it never got; an event's own last argument may look like an offset
	case number == t.sent:
		number = t.left // it had got all that was for it
	}
	if number < max(r.history.floor(), t.forgotten) {
		return nil, false
	}
	return t.missed(a, number, r.history.after(number)), true
}

// recover gives a client its socket back, if it had one. Both results are nil
// if it must start anew.
func (n *Namespace) recover(ctx context.Context, h *Handshake, conn Conn) (*Socket, error) {
	r := n.recovery.Load()
	if r == nil {
		return nil, nil
	}
	returning, ok := conn.(RecoverableConn)
	if !ok {
		return nil, nil
	}
	t, ok := readTicket(h.Auth)
	if !ok {
		return nil, nil
	}
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.admits(n.name) {
		return nil, ErrNamespace
	}
	s, err := r.restore(t, h, returning)
	if s != nil {
		policy.welcome(ctx, s, nil)
	}
	return s, err
}

// newTrail returns the trail of a new socket; nil if it cannot be recovered.
func (n *Namespace) newTrail(conn Conn) *trail {
	r := n.recovery.Load()
	if _, ok := conn.(RecoverableConn); !ok || r == nil {
		return nil
	}
	return &trail{recovery: r, pid: randid.New()}
}

// setRecovery turns recovery on or off, or changes its settings. No broadcast is
// under way meanwhile: each is delivered by one rule or the other.
func (n *Namespace) setRecovery(settings Recovery) {
	defer n.order.lockAll()()
	r := n.recovery.Load()
	switch {
	case settings.Window <= 0 && r != nil:
		n.recovery.Store(nil)
		r.close()
	case settings.Window > 0 && r != nil:
		r.set(settings)
	case settings.Window > 0:
		n.recovery.Store(newRecovery(n, settings))
	}
}

// SetRecovery changes the settings of recovery. To turn it off frees all that
// is held: clients that are away start anew.
func (h *Hub) SetRecovery(settings Recovery) {
	h.recovering.Lock() // two changes shall not end up in different namespaces
	defer h.recovering.Unlock()
	h.mu.Lock()
	h.recovery = settings
	namespaces := slices.Collect(maps.Values(h.namespaces))
	h.mu.Unlock()
	for _, n := range namespaces {
		n.setRecovery(settings)
	}
}
