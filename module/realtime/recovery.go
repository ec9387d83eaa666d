package realtime

import (
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
	trails    map[string]*trail // of who is there, or may come back, by the pid
	absentees absentees
	encoded   int         // bytes of messages that have been encoded for those who came back
	timer     *time.Timer // runs while anything is held; nil otherwise
}

func newRecovery(n *Namespace, settings Recovery) *recovery {
	r := &recovery{namespace: n, history: newHistory(), trails: make(map[string]*trail)}
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
	r.namespace.mu.Lock()
	for a := r.absentees.oldest(); a != nil; a = r.absentees.oldest() {
		r.forget(a)
	}
	r.history.records = nil
	r.namespace.mu.Unlock()
	r.trails = nil
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
	r.namespace.mu.Lock()
	defer r.namespace.mu.Unlock()
	r.pruneAbsentees()
	r.history.prune(r.horizon(), r.settings.MaxEvents)
}

func (r *recovery) startTimer() {
	if r.timer == nil {
		r.timer = time.AfterFunc(r.settings.Window, r.tick)
	}
}

// tick is called by the timer.
func (r *recovery) tick() {
	if r.sweep() {
		r.namespace.hub.vacate(r.namespace)
	}
}

// sweep forgets what is due, and reports whether nothing is left.
func (r *recovery) sweep() (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.tidy()
	if r.isEmpty() {
		r.timer = nil
		return true
	}
	r.forgetEncodings()
	r.timer.Reset(r.settings.Window/8 + time.Millisecond)
	return false
}

// maxEncoded is how many bytes of messages may be kept in the form in which those
// who came back have got them: others who come back are likely to have missed the same.
const maxEncoded = 8 << 20

// encode notes that messages are about to be encoded for one client.
func (r *recovery) encode(messages []*Message) (done func()) {
	for _, m := range messages {
		if !m.isEncoded() {
			r.encoded += m.size()
		}
	}
	return func() {
		if r.encoded > maxEncoded {
			r.forgetEncodings()
		}
	}
}

func (r *recovery) forgetEncodings() {
	r.encoded = 0
	for _, record := range r.history.records {
		record.message.forgetEncodings()
	}
}

// isEmpty reports whether nothing is held.
func (r *recovery) isEmpty() bool {
	return len(r.history.records) == 0 && r.absentees.oldest() == nil
}

// retire ends what is empty, with its namespace.
func (r *recovery) retire() {
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// emit sends an event to a socket's client, or keeps it until that comes back.
func (r *recovery) emit(s *Socket, m *Message, in *Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	switch {
	case n.sealed.Load():
		return ErrSealed
	case r.closed && s.isGone():
		return ErrDisconnected
	case r.closed:
		return s.conn.Deliver(m, in)
	}
	n.mu.RLock()
	holder := s.trail.holder // not s itself if the client has come back meanwhile
	if holder == nil {
		n.mu.RUnlock()
		return ErrDisconnected
	}
	r.record(m, audience{rooms: []string{s.id}})
	present := holder.present
	n.mu.RUnlock()
	defer m.forgetEncodings()
	if present {
		s.trail.sent = r.history.last
		_ = holder.conn.Deliver(m, in) // whoever does not get it now can come back for it
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

// RecoveryWindow returns for how long the client of a socket that ends for a
// reason may come back to it; 0 if it may not.
func (s *Socket) RecoveryWindow(reason string) time.Duration {
	if s.trail == nil || !recoverable(reason) {
		return 0
	}
	r := s.trail.recovery
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || s.trail.holder == nil {
		return 0
	}
	return r.settings.Window
}

// begin gives the trail of a socket that is about to enter the namespace its
// place. The caller holds the mutexes of both.
func (r *recovery) begin(s *Socket) {
	s.trail.begin()
	s.trail.holder = s
	if !r.closed {
		r.trails[s.trail.pid] = s.trail
	}
}

// newTrail returns the trail of a new socket; nil if it cannot be recovered.
func (n *Namespace) newTrail(conn Conn, authentication string) *trail {
	r := n.recovery.Load()
	if _, ok := conn.(RecoverableConn); !ok || r == nil {
		return nil
	}
	return &trail{recovery: r, pid: randid.New(), authentication: authentication}
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
		h.vacate(n) // nobody may come back any more
	}
}
