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

// settleTime is how long a client that comes back waits for the handlers to be
// done with what it did before: an event of its own that is at a backend, say.
const settleTime = 10 * time.Second

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

// pruneAbsentees forgets those who left too long ago, and the oldest of too many.
// The caller holds the mutexes of both.
func (r *recovery) pruneAbsentees() {
	before := r.horizon()
	for a := r.absentees.oldest(); a != nil && (r.absentees.len() > maxAbsentees || a.since.Before(before)); a = r.absentees.oldest() {
		r.forget(a)
	}
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

// ReturnWindow returns for how long the client of a socket that ends for a
// reason may come back to it; 0 if it may not.
func (s *Socket) ReturnWindow(reason string) time.Duration {
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

// part takes a socket out of the namespace, and remembers it if its client may
// come back. That can be once the socket's end has been dealt with and settle is
// called. It returns nil if nobody can come back.
func (r *recovery) part(s *Socket, recoverable bool) *absentee {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	t := s.trail
	if t.holder != s {
		return nil // it has been disconnected meanwhile
	}
	t.end()
	n.displace(s)
	if r.closed || !recoverable || t.epoch != r.history.epoch {
		r.end(t)
		return nil
	}
	a := &absentee{
		socket: &Socket{
			id:        s.id,
			namespace: n,
			endpoint:  s.endpoint,
			conn:      noConn{},
			session:   s.session,
			peer:      s.peer,
			user:      s.user,
			connected: s.connected,
			expires:   s.expires,
			trail:     t,
			gone:      true,
		},
		conn:  s.conn,
		since: time.Now(),
	}
	r.remember(a, s.rooms)
	r.pruneAbsentees()
	r.startTimer()
	if t.absentee != a {
		return nil
	}
	return a
}

// remember enters an absentee. The caller holds the mutexes of both.
func (r *recovery) remember(a *absentee, rooms []string) {
	n, t := r.namespace, a.socket.trail
	t.holder, t.absentee = a.socket, a
	t.wake()
	n.recoverable.add(a.socket)
	for _, room := range rooms {
		n.recoverable.rooms.add(room, a.socket)
	}
	r.absentees.add(a)
}

// forget lets nobody come back to an absentee's socket. The caller holds the
// mutexes of both.
func (r *recovery) forget(a *absentee) {
	r.namespace.recoverable.remove(a.socket)
	r.absentees.remove(a)
	r.end(a.socket.trail)
}

// end lets nobody have a trail any more. The caller holds the mutexes of both.
func (r *recovery) end(t *trail) {
	t.holder, t.absentee = nil, nil
	t.wake()
	delete(r.trails, t.pid)
	if len(r.trails) == 0 && !r.closed {
		r.trails = make(map[string]*trail) // a map does not shrink
	}
}

// settle lets the client of an absentee come back. s is the socket that it was. It
// reports false if the client cannot: it was dismissed meanwhile.
func (r *recovery) settle(a *absentee, s *Socket) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.socket.events.Store(s.events.Load())
	a.ready, a.conn = true, nil
	s.trail.wake()
	return s.trail.absentee == a
}

// isAway reports whether the client is away, and may come back.
func (t *trail) isAway() bool {
	t.recovery.mu.Lock()
	defer t.recovery.mu.Unlock()
	return t.absentee != nil
}

// A dismissal is what has become of a socket to which nobody can come back any
// more.
type dismissal struct {
	socket *Socket // nil: nobody could before
	away   bool    // its client was, and may have heard nothing of it
	ready  bool    // and the handlers know
	conn   Conn    // that it still has, or had, if they do not
}

// dismiss lets nobody come back to a socket, connected or not. The caller tells
// those who have to know.
func (t *trail) dismiss() (d dismissal) {
	r := t.recovery
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	d.socket = t.holder
	switch a := t.absentee; {
	case d.socket == nil:
	case a != nil:
		d.away, d.ready, d.conn = true, a.ready, a.conn
		r.forget(a)
	default:
		d.conn = d.socket.conn
		t.end()
		n.displace(d.socket)
		r.end(t)
	}
	return d
}

// discard is dismiss where the client has given up the connection that it had.
func (t *trail) discard() {
	switch d := t.dismiss(); {
	case d.socket == nil:
	case d.ready:
		d.socket.sayNoReturn()
	case !d.away:
		d.socket.replace()
	}
}

// disconnect is Socket.Disconnect for whoever has the trail.
func (t *trail) disconnect(closing bool) error {
	if t.recovery.namespace.sealed.Load() && t.isAway() {
		return ErrSealed
	}
	d := t.dismiss()
	switch {
	case d.socket == nil:
		return ErrDisconnected
	case !d.away && d.socket.begone():
		err := d.conn.Leave(closing)
		d.socket.finish(reason.ServerDisconnect)
		return err
	case d.ready:
		d.socket.sayNoReturn()
	case closing:
		_ = d.conn.Leave(true) // its other sockets may not know that it has ended
	}
	if closing {
		t.recovery.namespace.hub.forgetSession(d.socket.session)
	}
	return nil
}

// sayNoReturn lets the handlers know that nobody can come back to a socket.
func (s *Socket) sayNoReturn() {
	policy, release := s.endpoint.acquire()
	defer release()
	policy.noReturn(s)
}

func (p *Policy) noReturn(s *Socket) {
	for _, handler := range p.Handlers {
		if h, ok := handler.(NoReturnHandler); ok {
			p.callNoReturn(h, s)
		}
	}
}

// forgetSession lets nobody come back to the sockets that shared a connection.
func (h *Hub) forgetSession(session string) {
	for _, n := range h.Namespaces() {
		if r := n.recovery.Load(); r != nil {
			r.forgetSession(session)
		}
	}
}

func (r *recovery) forgetSession(session string) {
	r.mu.Lock()
	all := slices.Clone(r.absentees.sessions[session])
	r.mu.Unlock()
	for _, a := range all {
		_ = a.socket.trail.disconnect(false) // it may be back, by another connection
	}
}

// A ticket is what a client that comes back shows.
type ticket struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
}

// readTicket reads what a client authenticates itself with.
func readTicket(auth json.RawMessage) (t ticket) {
	if len(auth) == 0 || json.Unmarshal(auth, &t) != nil {
		return ticket{}
	}
	return t
}

// find returns the trail of who comes back by an endpoint; nil if there is none.
func (r *recovery) find(pid string, e *Endpoint) *trail {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.trails[pid]; t != nil && t.holder.endpoint.name == e.name {
		return t
	}
	return nil
}

// An obstacle is what a client that comes back waits for: nothing if it is zero.
type obstacle struct {
	end  *Socket         // to be ended, for the client has given up its connection; may be nil
	wait <-chan struct{} // closed when something has changed
}

// restore gives a client that comes back its socket, at once with respect to
// every event. The socket is nil if something is to be done first, or if the
// client must start anew.
func (r *recovery) restore(t *trail, offset string, h *Handshake, conn RecoverableConn) (*Socket, obstacle, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, obstacle{}, nil
	}
	r.tidy()
	a := t.absentee
	switch {
	case t.holder == nil:
		return nil, obstacle{}, nil
	case a == nil:
		return nil, obstacle{t.holder, t.wait()}, nil
	case !a.ready:
		return nil, obstacle{wait: t.wait()}, nil
	}
	missed, ok := r.missed(t, offset)
	if !ok || a.socket.expired() {
		return nil, obstacle{}, nil
	}
	s := &Socket{
		id:        a.socket.id,
		namespace: r.namespace,
		endpoint:  h.Endpoint,
		conn:      conn,
		session:   h.Session,
		user:      a.socket.user,
		expires:   a.socket.expires,
		trail:     t,
		recovered: true,
		peer:      h.peer(),
		connected: time.Now(),
	}
	s.events.Store(a.socket.events.Load())
	defer r.encode(missed)()
	switch err := conn.Recovered(s, missed); {
	case errors.Is(err, ErrBacklog):
		return nil, obstacle{}, nil
	case err != nil:
		return nil, obstacle{}, err // it has gone again, and may come back once more
	}
	s.lane.enter() // it is welcome's
	r.readmit(a, s)
	if len(missed) > 0 {
		number, _ := r.history.number(missed[len(missed)-1].Offset())
		t.sent = max(t.sent, number)
	}
	return s, obstacle{}, nil
}

// readmit has a socket take the place of an absentee.
func (r *recovery) readmit(a *absentee, s *Socket) {
	n := r.namespace
	n.mu.Lock()
	defer n.mu.Unlock()
	rooms := slices.Clone(a.socket.rooms)
	n.recoverable.remove(a.socket)
	r.absentees.remove(a)
	s.trail.holder, s.trail.absentee = s, nil
	n.place(s)
	for _, room := range rooms {
		n.rooms.add(room, s)
	}
}

// missed returns what the client of a trail has not got. It reports false if that
// is not known any more.
func (r *recovery) missed(t *trail, offset string) ([]*Message, bool) {
	number, ok := r.history.number(offset)
	if !ok || t.epoch != r.history.epoch { // something is missing that nobody knows
		return nil, false
	}
	r.namespace.mu.RLock()
	defer r.namespace.mu.RUnlock()
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
	return t.missed(number, r.history.after(number)), true
}

// recover gives a client its socket back, if it had one. Both the socket and the
// error are nil if it must start anew; nobody is to come back to a stale trail
// then, once the client is let in.
func (n *Namespace) recover(ctx context.Context, h *Handshake, conn Conn) (s *Socket, stale *trail, err error) {
	r := n.recovery.Load()
	if r == nil {
		return nil, nil, nil
	}
	returning, ok := conn.(RecoverableConn)
	if !ok {
		return nil, nil, nil
	}
	ticket := readTicket(h.Auth)
	t := r.find(ticket.PID, h.Endpoint)
	switch {
	case t == nil:
		return nil, nil, nil
	case ticket.Offset == "": // it has got no event, and has nothing to come back to
		return nil, t, nil
	}
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for {
		s, before, err := n.tryRecover(ctx, t, ticket.Offset, h, returning)
		switch {
		case s != nil || err != nil:
			return s, nil, err
		case before.wait == nil:
			return nil, t, nil
		case before.end != nil:
			before.end.replace()
		}
		select {
		case <-before.wait:
		case <-timer.C:
			return nil, t, nil
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// tryRecover is one attempt to do so, under the policy of the moment.
func (n *Namespace) tryRecover(ctx context.Context, t *trail, offset string, h *Handshake, conn RecoverableConn) (*Socket, obstacle, error) {
	policy, release := h.Endpoint.acquire()
	defer release()
	if !policy.admits(n.name) {
		return nil, obstacle{}, ErrNamespace
	}
	if !t.authenticatedBy(policy.Authentication) {
		return nil, obstacle{}, nil
	}
	s, before, err := t.recovery.restore(t, offset, h, conn)
	if s != nil {
		policy.welcome(ctx, s, nil)
	}
	return s, before, err
}

// replace ends a socket whose client has another connection by now, and says on
// that one that it comes back. The other ends without a word: the network may not
// have taken anything for a while.
func (s *Socket) replace() {
	s.HandleDisconnect(reason.ForcedClose)
	s.conn.Close(reason.ForcedClose)
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
