package realtime

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
)

// Recovery are the settings of connection state recovery: a client whose connection broke gets its
// socket back, and the events that it missed meanwhile.
// https://socket.io/docs/v4/connection-state-recovery
type Recovery struct {
	// Window is how long after a disconnect a client can recover its socket. Default: 0, which
	// turns recovery off.
	Window time.Duration
	// MaxEvents is how many events of each namespace are kept. Default: 10,000.
	MaxEvents int
}

// DefaultMaxEvents is the default of Recovery.MaxEvents.
const DefaultMaxEvents = 10_000

// A recoveryStore holds what a namespace needs for clients to recover their sockets. It exists
// while recovery is on. Its mutex is held while an event is numbered and delivered, so that the
// history has the order in which every client gets the events. It is locked before the namespace's
// mutex.
type recoveryStore struct {
	namespace *Namespace
	began     time.Time // its clock counts from here

	mu            sync.Mutex
	settings      Recovery
	closed        bool
	history       history
	since         time.Time                 // when the history began
	heard         heard                     // what of other nodes is, or has been, in the history, and of this one
	states        map[string]*recoveryState // of connected and disconnected sockets, by their pids
	disconnected  disconnectedSockets
	moved         map[string]*movedSocket // by their pids
	imported      []*importedEvents       // in the order of their time
	importedBytes int
	arriving      int         // clients whose sockets other nodes have
	encoded       int         // bytes of messages that have been encoded for clients that recovered
	timer         *time.Timer // runs while anything is held; nil otherwise
}

func newRecoveryStore(n *Namespace, settings Recovery) *recoveryStore {
	now := time.Now()
	r := &recoveryStore{namespace: n, began: now, history: newHistory(), since: now, states: make(map[string]*recoveryState)}
	r.configure(settings)
	return r
}

// configure changes the settings.
func (r *recoveryStore) configure(settings Recovery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if settings.MaxEvents <= 0 {
		settings.MaxEvents = DefaultMaxEvents
	}
	r.settings = settings
	r.prune()
	if r.timer != nil {
		r.timer.Reset(r.settings.Window)
	}
}

// close drops everything.
func (r *recoveryStore) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.namespace.mu.Lock()
	for d := r.disconnected.oldest(); d != nil; d = r.disconnected.oldest() {
		r.removeDisconnected(d)
	}
	r.history.records = nil
	for pid := range r.moved {
		r.forgetMoved(pid)
	}
	r.namespace.mu.Unlock()
	r.imported, r.importedBytes = nil, 0
	r.states = nil
	if r.timer != nil {
		r.timer.Stop()
	}
}

// record adds a message to the history. Its origin may be nil. The caller holds the mutexes of the
// store and the namespace, and chooses the recipients before it unlocks the latter.
func (r *recoveryStore) record(m *Message, to target, from *origin) {
	newest := r.history.append(m, to)
	newest.origin = from
	r.heard.add(from, newest.at)
	r.history.prune(r.cutoff(), r.settings.MaxEvents)
	r.startTimer()
}

// cutoff returns the time before which nothing is held.
func (r *recoveryStore) cutoff() time.Time { return time.Now().Add(-r.settings.Window) }

// prune drops what is too old or too much.
func (r *recoveryStore) prune() {
	r.namespace.mu.Lock()
	defer r.namespace.mu.Unlock()
	r.pruneDisconnected()
	r.pruneMoved(movedKeep)
	r.pruneImported()
	r.history.prune(r.cutoff(), r.settings.MaxEvents)
}

func (r *recoveryStore) startTimer() {
	if r.timer == nil {
		r.timer = time.AfterFunc(r.settings.Window, r.tick)
	}
}

// tick runs when the timer goes off.
func (r *recoveryStore) tick() {
	if r.sweep() {
		r.namespace.hub.removeIfUnused(r.namespace)
	}
}

// heardLonger is how much longer than events it is known up to which number they were recorded:
// another node may still have the events.
const heardLonger = time.Minute

// sweep drops what is due, and reports whether nothing is left.
func (r *recoveryStore) sweep() (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.prune()
	if r.isEmpty() {
		r.timer = nil
		return true
	}
	r.forgetEncodings()
	r.heard.prune(r.cutoff().Add(-heardLonger))
	r.timer.Reset(r.settings.Window/8 + time.Millisecond)
	return false
}

// maxEncoded is how many bytes of messages keep their encodings after a client that recovered has
// got them. Other clients that recover are likely to have missed the same messages.
const maxEncoded = 8 << 20

// countEncodings counts messages that are about to be encoded for a client that recovers. The
// caller calls done afterwards.
func (r *recoveryStore) countEncodings(messages []*Message) (done func()) {
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

func (r *recoveryStore) forgetEncodings() {
	r.encoded = 0
	for _, record := range r.history.records {
		record.message.forgetEncodings()
	}
	for _, imported := range r.imported {
		for _, m := range imported.messages {
			m.forgetEncodings()
		}
	}
}

// isEmpty reports whether nobody needs the store: it has neither events nor disconnected sockets, and
// no socket is on its way to this node or has just left it.
func (r *recoveryStore) isEmpty() bool {
	return len(r.history.records) == 0 && r.disconnected.oldest() == nil && r.arriving == 0 && len(r.moved) == 0
}

// closeEmpty closes an empty store, together with its namespace.
func (r *recoveryStore) closeEmpty() {
	r.closed = true
	if r.timer != nil {
		r.timer.Stop()
	}
}

// emit sends an event to a socket's client, or keeps it until the client recovers the socket.
func (r *recoveryStore) emit(s *Socket, m *Message, batch *Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	switch {
	case n.sealed.Load():
		return ErrSealed
	case r.closed && s.isGone():
		return ErrDisconnected
	case r.closed:
		return s.conn.Deliver(m, batch)
	}
	n.mu.RLock()
	holder := s.recovery.holder // another socket than s if the client has recovered it
	if holder == nil {
		n.mu.RUnlock()
		return ErrDisconnected
	}
	r.record(m, target{rooms: []string{s.id}}, nil)
	present := holder.present
	n.mu.RUnlock()
	defer m.forgetEncodings()
	if present {
		s.recovery.lastSent = r.history.last
		_ = holder.conn.Deliver(m, batch) // a client that does not get it now can recover it
	}
	return nil
}

// recoverable reports whether the client of a socket that ended for a reason may recover it. A
// client that left, was disconnected by the application or broke a rule may not.
func recoverable(why string) bool {
	switch why {
	case reason.TransportClose, reason.TransportError, reason.PingTimeout,
		reason.ForcedClose, reason.ShuttingDown, reason.SlowConsumer:
		return true
	}
	return false
}

// RecoveryWindow returns how long the client can recover a socket that ends for a reason; 0 means
// not at all.
func (s *Socket) RecoveryWindow(reason string) time.Duration {
	if s.recovery == nil || !recoverable(reason) {
		return 0
	}
	r := s.recovery.store
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || s.recovery.holder == nil {
		return 0
	}
	return r.settings.Window
}

// register begins the recovery state of a socket that is about to be added to the namespace. The
// caller holds the mutexes of the store and the namespace.
func (r *recoveryStore) register(s *Socket) {
	s.recovery.begin()
	s.recovery.holder = s
	if !r.closed {
		r.states[s.recovery.pid] = s.recovery
	}
}

// newRecoveryState returns the recovery state of a new socket; nil if it is not recoverable.
func (n *Namespace) newRecoveryState(conn Conn, authentication string) *recoveryState {
	r := n.recovery.Load()
	if _, ok := conn.(RecoverableConn); !ok || r == nil {
		return nil
	}
	return &recoveryState{store: r, pid: n.hub.newPrivateID(), authentication: authentication}
}

// setRecovery turns recovery on or off, or changes its settings. No broadcast runs meanwhile, so
// that each is delivered either with recovery or without.
func (n *Namespace) setRecovery(settings Recovery) {
	defer n.order.lockAll()()
	r := n.recovery.Load()
	switch {
	case settings.Window <= 0 && r != nil:
		n.recovery.Store(nil)
		r.close()
	case settings.Window > 0 && r != nil:
		r.configure(settings)
	case settings.Window > 0:
		n.recovery.Store(newRecoveryStore(n, settings))
	}
}

// SetRecovery changes the settings of recovery. Turning it off drops all recoverable sockets: their
// clients get new ones when they come back.
func (h *Hub) SetRecovery(settings Recovery) {
	h.recoveryMu.Lock() // all namespaces get the same settings if two callers change them at once
	defer h.recoveryMu.Unlock()
	h.mu.Lock()
	h.recovery = settings
	namespaces := slices.Collect(maps.Values(h.namespaces))
	h.mu.Unlock()
	for _, n := range namespaces {
		n.setRecovery(settings)
		h.removeIfUnused(n) // it may have been kept for recoverable sockets only
	}
}
