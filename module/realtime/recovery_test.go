package realtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/membroker"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A line is a connection that can be recovered, to a client that has yet to
// take what was sent.
type line struct {
	limit int // how many missed events it takes at once; 0: any number

	mu     sync.Mutex
	sent   []*realtime.Message
	broken bool
	left   bool     // Disconnect was called
	closed []string // what Close was called with
}

func (l *line) SendConnect(*realtime.Socket) error { return l.send() }

func (l *line) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	m.Encoding(l.limit, func(*realtime.Message) any { return nil })
	return l.send(m)
}

func (l *line) SendRecovered(_ *realtime.Socket, missed []*realtime.Message) error {
	if l.limit > 0 && len(missed) > l.limit {
		return realtime.ErrBacklog
	}
	return l.send(missed...)
}

func (l *line) Disconnect(bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
	return nil
}

func (l *line) Close(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = append(l.closed, why)
}

func (l *line) send(messages ...*realtime.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errors.New("the line is broken")
	}
	l.sent = append(l.sent, messages...)
	return nil
}

// take returns what has arrived: at most n messages.
func (l *line) take(n int) []*realtime.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, len(l.sent))
	arrived := l.sent[:n:n]
	l.sent = l.sent[n:]
	return arrived
}

func (l *line) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent)
}

// cut loses what has not arrived.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent, l.broken = nil, true
}

// A phone is a client as Socket.IO's own: it remembers an id and an offset.
type phone struct {
	e      *entrance
	pid    string
	offset string
	socket *realtime.Socket // nil while it is not connected
	last   *realtime.Socket // that it had last
	line   *line
	heard  []string                                      // the lasting events since it was last told that it starts anew
	faulty func([]*realtime.Message) []*realtime.Message // what it hears of what arrives; nil: all
	onDial func(*realtime.Socket)                        // may be nil
}

// sessions is how many there have been.
var sessions atomic.Int64

// dial connects, and reports whether the phone has been recovered.
func (p *phone) dial(limit int) (recovered bool, err error) {
	l := &line{limit: limit}
	h := handshake(p.e)
	h.Session = fmt.Sprint("session ", sessions.Add(1))
	if p.pid != "" {
		h.Auth, _ = json.Marshal(map[string]string{"pid": p.pid, "offset": p.offset})
	}
	s, err := p.e.Hub().Lookup("/").Connect(context.Background(), h, l)
	if err != nil {
		return false, err
	}
	recovered = p.pid != "" && s.PrivateID() == p.pid
	if s.Recovered() != recovered {
		return false, fmt.Errorf("Recovered is %v, but the ids say %v", s.Recovered(), recovered)
	}
	p.pid, p.socket, p.last, p.line = s.PrivateID(), s, s, l
	if p.onDial != nil {
		p.onDial(s)
	}
	if !recovered {
		p.heard = nil
	}
	return recovered, nil
}

// listen hears at most n of the messages that were sent.
func (p *phone) listen(n int) {
	if p.line == nil {
		return
	}
	arrived := p.line.take(n)
	if p.faulty != nil {
		arrived = p.faulty(arrived)
	}
	for _, m := range arrived {
		if m.Offset() == "" {
			continue // volatile: it may come, or not
		}
		p.offset = m.Offset()
		p.heard = append(p.heard, m.Event)
	}
}

// hangUp breaks the connection.
func (p *phone) hangUp(why string) {
	p.line.cut()
	p.socket.HandleDisconnect(why)
	p.socket, p.line = nil, nil
}

// A world is phones, and a model of what each must hear.
type world struct {
	random  *rand.Rand
	ns      *realtime.Namespace
	phones  []*phone
	models  []*model
	events  int
	retries int // how many times somebody was recovered
	refused int // and was not
}

// A model is what a phone has to hear, and its place in the namespace.
type model struct {
	rooms   map[string]bool
	member  bool // connected, or away and due to come back
	due     []string
	dueAt   []time.Time
	came    time.Time // when it began anew
	dropped time.Time
	lost    time.Time // when the last event was sent that had been heard by then; dropped if that was all
	mayNot  bool      // come back
	blank   bool      // has heard nothing to come back with
}

// must notes that the phone has to hear an event.
func (m *model) must(event string) {
	m.due = append(m.due, event)
	m.dueAt = append(m.dueAt, time.Now())
}

var roomsField = []string{"red", "green", "blue"}

// play lets n things happen at random. The error says what a phone heard and
// should not have, or did not hear.
func (w *world) play(n int, strict bool) error {
	for range n {
		i := w.random.IntN(len(w.phones))
		p, m := w.phones[i], w.models[i]
		switch w.random.IntN(13) {
		case 0, 1:
			if p.socket == nil {
				if err := w.dial(i, strict); err != nil {
					return err
				}
			}
		case 2:
			if p.socket != nil && w.random.IntN(3) == 0 {
				why := "transport close"
				if m.mayNot = w.random.IntN(6) == 0; m.mayNot {
					why = "client namespace disconnect"
					m.member = false
				}
				w.hangUp(i, why)
			}
		case 3:
			if s := w.socket(i); s != nil {
				room := w.room()
				s.Join(room)
				m.rooms[room] = true
			}
		case 4:
			if s := w.socket(i); s != nil {
				room := w.room()
				s.Leave(room)
				delete(m.rooms, room)
			}
		case 5, 6:
			p.listen(w.random.IntN(5))
		case 7:
			if s := w.socket(i); s != nil {
				event := w.event()
				if err := s.Emit(context.Background(), event); err != nil {
					return err
				}
				m.must(event)
			}
		case 8:
			if s := w.socket(i); s != nil && p.socket == nil && w.random.IntN(6) == 0 {
				if err := s.Disconnect(w.random.IntN(2) == 0); err != nil {
					return err
				}
				m.mayNot, m.member = true, false
			}
		case 9:
			time.Sleep(time.Duration(w.random.IntN(3000)) * time.Millisecond)
		default:
			w.broadcast(i)
		}
		if err := w.check(i, false); err != nil {
			return err
		}
	}
	for i, p := range w.phones {
		if p.socket == nil {
			if err := w.dial(i, strict); err != nil {
				return err
			}
		}
		p.listen(1 << 30)
		if err := w.check(i, true); err != nil {
			return err
		}
	}
	return nil
}

// hangUp breaks a phone's connection, and notes what it could miss by that.
func (w *world) hangUp(i int, why string) {
	p, m := w.phones[i], w.models[i]
	m.blank, m.dropped, m.lost = p.offset == "", time.Now(), time.Now()
	switch n := len(p.heard); {
	case n == len(m.due):
	case n == 0:
		m.lost = m.came
	default:
		m.lost = m.dueAt[n-1] // what was sent next was perhaps for others, but held no longer
	}
	p.hangUp(why)
}

// socket returns a phone's socket, as somebody knows it who has had it for some
// time, or looks for it now; nil if it is gone.
func (w *world) socket(i int) *realtime.Socket {
	p := w.phones[i]
	if p.last == nil {
		return nil
	}
	found := w.ns.Find(realtime.Query{ID: p.last.ID()})
	switch {
	case len(found) == 0:
		return nil
	case p.last.Namespace() == w.ns && w.random.IntN(2) == 0:
		return p.last
	}
	return found[0]
}

func (w *world) room() string { return roomsField[w.random.IntN(len(roomsField))] }

func (w *world) event() string {
	w.events++
	return fmt.Sprint("event ", w.events)
}

func (w *world) dial(i int, strict bool) error {
	p, m := w.phones[i], w.models[i]
	recovered, err := p.dial(w.random.IntN(2) * 20)
	if err != nil {
		return err
	}
	away := time.Since(m.dropped)
	switch {
	case recovered && m.mayNot:
		return fmt.Errorf("phone %d was recovered and must not be", i)
	case recovered && away > recoveryWindow:
		return fmt.Errorf("phone %d was recovered after %v", i, away)
	case !recovered && strict && m.member && !m.mayNot && !m.blank && p.line.limit == 0 && time.Since(m.lost) < recoveryWindow:
		return fmt.Errorf("phone %d was away for %v and is not recovered", i, away)
	case recovered:
		w.retries++
		rooms := p.socket.Rooms()
		if len(rooms) != len(m.rooms) || slices.ContainsFunc(rooms, func(room string) bool { return !m.rooms[room] }) {
			return fmt.Errorf("phone %d is back in %v, not in %v", i, rooms, m.rooms)
		}
	default:
		w.refused++
		*m = model{rooms: make(map[string]bool), member: true, came: time.Now()}
	}
	m.mayNot = false
	return nil
}

// broadcast sends an event to some, and notes who must hear it.
func (w *world) broadcast(i int) {
	sender := w.phones[i]
	b, excluded := w.ns.To(), map[string]bool{}
	own := ""
	if sender.socket != nil && w.random.IntN(2) == 0 {
		b, own = sender.socket.To(), sender.socket.ID()
	}
	rooms := map[string]bool{}
	for range w.random.IntN(3) {
		room := w.room()
		b, rooms[room] = b.To(room), true
	}
	if w.random.IntN(4) == 0 {
		room := w.room()
		b, excluded[room] = b.Except(room), true
	}
	event := w.event()
	if w.random.IntN(6) == 0 {
		_ = b.Volatile().Emit(context.Background(), event)
		return
	}
	_ = b.Emit(context.Background(), event)
	for j, m := range w.models {
		in := func(set map[string]bool) bool {
			return slices.ContainsFunc(roomsField, func(room string) bool { return set[room] && m.rooms[room] })
		}
		if m.member && (own == "" || j != i) && (len(rooms) == 0 || in(rooms)) && !in(excluded) {
			m.must(event)
		}
	}
}

// check compares what a phone has heard so far with what it had to hear.
func (w *world) check(i int, whole bool) error {
	heard, due := w.phones[i].heard, w.models[i].due
	if len(heard) > len(due) || !slices.Equal(heard, due[:len(heard)]) || whole && len(heard) != len(due) {
		return fmt.Errorf("phone %d heard\n%q, not\n%q", i, heard, due)
	}
	return nil
}

const recoveryWindow = time.Minute

func newWorld(t *testing.T, seed uint64, maxEvents int) *world {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow, MaxEvents: maxEvents}}), realtime.Policy{})
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), ns: e.Hub().Namespace("/")}
	for range 5 {
		w.phones = append(w.phones, &phone{e: e})
		w.models = append(w.models, &model{rooms: make(map[string]bool)})
	}
	return w
}

// TestRecoveryModel has phones come and go at random: whoever is recovered has
// heard everything once and in order, and nothing else.
func TestRecoveryModel(t *testing.T) {
	for name, maxEvents := range map[string]int{"everything is held": 0, "little is held": 40} {
		t.Run(name, func(t *testing.T) {
			retries, refused := 0, 0
			for seed := range uint64(60) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, seed, maxEvents)
					// Nothing of what may be missed is ever too old to be held, if it all fits.
					if err := w.play(600, maxEvents == 0); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					retries += w.retries
					refused += w.refused
				})
			}
			t.Logf("%d recoveries, %d times anew", retries, refused)
			if retries < 200 || refused < 100 {
				t.Error("too little happened")
			}
		})
	}
}

// TestRecoveryChecker makes sure that the model sees what goes wrong.
func TestRecoveryChecker(t *testing.T) {
	once := func(fault func([]*realtime.Message) []*realtime.Message) func([]*realtime.Message) []*realtime.Message {
		n := 0
		return func(m []*realtime.Message) []*realtime.Message {
			if n++; n > 20 && len(m) > 2 {
				return fault(slices.Clone(m))
			}
			return m
		}
	}
	for name, fault := range map[string]func([]*realtime.Message) []*realtime.Message{
		"a gap":          func(m []*realtime.Message) []*realtime.Message { return slices.Delete(m, 1, 2) },
		"a gap at front": func(m []*realtime.Message) []*realtime.Message { return m[1:] },
		"a duplicate":    func(m []*realtime.Message) []*realtime.Message { return slices.Insert(m, 1, m[0]) },
		"an exchange":    func(m []*realtime.Message) []*realtime.Message { m[0], m[1] = m[1], m[0]; return m },
	} {
		missed := 0
		for seed := range uint64(5) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, seed, 0)
				for _, p := range w.phones {
					p.faulty = once(fault)
				}
				if w.play(1000, false) == nil {
					missed++
				}
			})
		}
		if missed > 0 {
			t.Errorf("%s: not noticed in %d of 5 runs", name, missed)
		}
	}
}

// TestRecoveryRace has events of all kinds come from many sides while phones
// lose their connections and come back.
func TestRecoveryRace(t *testing.T) {
	const rounds, publishers = 15, 2
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Hour, MaxEvents: 1 << 20}}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	// However slow the phones are, no more is sent than is held for them.
	const each = 300 // for each of their lives
	var sent, due atomic.Int64
	due.Store(each)
	publish := func(name string, emit func(event string) error) {
		publishing.Go(func() {
			for i := 1; ; {
				select {
				case <-stop:
					return
				default:
				}
				// What is not accepted is sent again.
				if sent.Load() < due.Load() && emit(fmt.Sprint(name, " ", i)) == nil {
					i++
					sent.Add(1)
				}
				runtime.Gosched()
			}
		})
	}
	var phones []*phone
	for i := range 6 {
		p := &phone{e: e}
		if _, err := p.dial(0); err != nil {
			t.Fatal(err)
		}
		p.socket.Join("room")
		phones = append(phones, p)
		var current atomic.Pointer[realtime.Socket]
		current.Store(p.socket)
		p.onDial = current.Store
		id := p.socket.ID()
		publish(fmt.Sprint("emit-", i), func(event string) error { return current.Load().Emit(context.Background(), event) })
		publish(fmt.Sprint("own-", i), func(event string) error { return ns.To(id).Emit(context.Background(), event) })
	}
	for i := range publishers {
		publish(fmt.Sprint("all-", i), func(event string) error { return ns.To().Emit(context.Background(), event) })
		publish(fmt.Sprint("room-", i), func(event string) error { return ns.To("room").Emit(context.Background(), event) })
		publish(fmt.Sprint("both-", i), func(event string) error {
			return ns.To("room", "other").Except("nobody").Emit(context.Background(), event)
		})
		publishing.Go(func() { // who has little to say, and comes and goes
			for {
				select {
				case <-stop:
					return
				default:
				}
				m := join(t, e, "room")
				_ = m.Emit(context.Background(), "to somebody else")
				m.HandleDisconnect("client namespace disconnect")
			}
		})
	}
	var living sync.WaitGroup
	for i, p := range phones {
		living.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 2))
			for range rounds {
				for p.line.waiting() < 10 {
					runtime.Gosched()
				}
				p.listen(1 + random.IntN(20))
				p.hangUp("transport close")
				due.Add(each)
				if recovered, err := p.dial(0); err != nil || !recovered {
					t.Errorf("phone %d: recovered %v, %v", i, recovered, err)
					return
				}
			}
		})
	}
	living.Wait()
	close(stop)
	publishing.Wait()
	total := 0
	for i, p := range phones {
		p.listen(1 << 30)
		total += len(p.heard)
		if problem := gaps(p.heard); problem != "" {
			t.Errorf("phone %d: %s", i, problem)
		}
	}
	t.Logf("%d events were heard in %d lives", total, rounds*len(phones))
	if problem := gaps([]string{"a 4", "b 1", "a 5", "a 7"}); problem == "" {
		t.Error("a gap is not noticed")
	}
}

// gaps reports the first event that is not the next of its publisher. What came
// before the first one is not asked about.
func gaps(events []string) string {
	last := make(map[string]int)
	for _, event := range events {
		name, digits, _ := strings.Cut(event, " ")
		number, err := strconv.Atoi(digits)
		if before, known := last[name]; err != nil || known && number != before+1 {
			return fmt.Sprintf("%q follows number %d of %q", event, before, name)
		}
		last[name] = number
	}
	return ""
}

// A private id is good for one, of the same endpoint and namespace, under a
// policy that still admits it.
func TestRecoveryTickets(t *testing.T) {
	h := hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}})
	asked := 0
	policy := realtime.Policy{
		Namespaces: realtime.Globs{"*"},
		Authenticators: []realtime.Authenticator{door(func(context.Context, string, *realtime.Handshake) (realtime.Identity, error) {
			asked++
			return realtime.Identity{User: "anna", Data: map[string]json.RawMessage{"role": raw(`"admin"`)}, Rooms: []string{"staff"}}, nil
		})},
	}
	e := open(h, policy)
	p := &phone{e: e}
	leave := func() {
		t.Helper()
		if err := p.socket.Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
		p.listen(1 << 30)
		p.hangUp("transport error")
	}
	show := func(e *realtime.Endpoint, namespace, pid, offset string) *realtime.Socket {
		t.Helper()
		shown := handshake(&entrance{Endpoint: e})
		shown.Auth, _ = json.Marshal(map[string]string{"pid": pid, "offset": offset})
		s, err := h.Namespace(namespace).Connect(t.Context(), shown, new(line))
		if err != nil {
			t.Error(err)
			return nil
		}
		return s
	}
	if _, err := p.dial(0); err != nil {
		t.Fatal(err)
	}
	if len(p.pid) != 22 || p.pid == p.socket.ID() {
		t.Errorf("the private id is %q", p.pid)
	}
	id, pid := p.socket.ID(), p.pid
	p.socket.SetData(map[string]json.RawMessage{"seen": raw("1")})
	leave()
	if !h.Namespace("/").IsSocketRoom(id) || h.Namespace("/").IsSocketRoom("staff") {
		t.Error("the own room of a socket that is away is not its own")
	}
	other := realtime.NewEndpoint("other", h, func() (*realtime.Policy, func()) { return &policy, func() {} })
	for what, s := range map[string]*realtime.Socket{
		"another endpoint":  show(other, "/", pid, p.offset),
		"another namespace": show(e.Endpoint, "/other", pid, p.offset),
		"an unknown id":     show(e.Endpoint, "/", id, p.offset),
	} {
		if s.Recovered() || s.ID() == id || s.PrivateID() == pid || s.PrivateID() == "" {
			t.Errorf("%s was let in as %s", what, s.ID())
		}
	}

	// Without an offset it has got nothing, and nobody comes back to it any more.
	deaf := &phone{e: e}
	if _, err := deaf.dial(0); err != nil {
		t.Fatal(err)
	}
	deaf.hangUp("transport close")
	for _, offset := range []string{"", p.offset} {
		if s := show(e.Endpoint, "/", deaf.pid, offset); s.Recovered() {
			t.Errorf("with the offset %q it is recovered", offset)
		}
	}

	// Two at the same time.
	asked = 0
	sockets := make(chan *realtime.Socket, 2)
	var showing sync.WaitGroup
	e.set(realtime.Policy{Namespaces: policy.Namespaces})
	for range 2 {
		showing.Go(func() { sockets <- show(e.Endpoint, "/", pid, p.offset) })
	}
	showing.Wait()
	first, second := <-sockets, <-sockets
	if present, _ := h.Namespace("/").Socket(id); present == second {
		first, second = second, first
	} else if present != first {
		t.Fatal("neither of two is there")
	}
	if !first.Recovered() || !second.Recovered() || second.ID() != id {
		t.Fatalf("of two, which have come one after the other, %v and %v have been recovered", first.Recovered(), second.Recovered())
	}
	data := first.Data()
	if first.User() != "anna" || string(data["role"]) != `"admin"` || string(data["seen"]) != "1" || asked != 0 {
		t.Errorf("who is back is %q with %s; authenticators were asked %d times", first.User(), data, asked)
	}
	equal(t, "rooms", first.Rooms(), []string{"staff"})

	// Nobody comes back to where clients may not be any more.
	first.HandleDisconnect("ping timeout")
	e.set(realtime.Policy{Namespaces: realtime.Globs{"/elsewhere"}})
	shown := handshake(e)
	shown.Auth, _ = json.Marshal(map[string]string{"pid": pid, "offset": p.offset})
	if _, err := h.Namespace("/").Connect(t.Context(), shown, new(line)); !errors.Is(err, realtime.ErrInvalidNamespace) {
		t.Errorf("the error is %v", err)
	}
	e.set(policy)

	// An offset that nobody gave.
	for _, offset := range []string{"nonsense", p.offset + "z", "." + p.offset, p.offset[:9] + "-1", p.offset[:9]} {
		p := &phone{e: e}
		if _, err := p.dial(0); err != nil {
			t.Fatal(err)
		}
		if err := p.socket.Emit(t.Context(), "event"); err != nil {
			t.Fatal(err)
		}
		p.listen(1)
		p.hangUp("transport close")
		if s := show(e.Endpoint, "/", p.pid, offset); s.Recovered() {
			t.Errorf("%q is taken for an offset", offset)
		}
	}
}

// TestRecoveryReasons has sockets end in every way.
func TestRecoveryReasons(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	for why, want := range map[string]bool{
		"transport close": true, "transport error": true, "ping timeout": true, "forced close": true,
		"server shutting down": true, "slow consumer": true,
		"parse error": false, "client namespace disconnect": false, "server namespace disconnect": false,
		"limit": false, "expired": false, "": false,
	} {
		p := &phone{e: e}
		if _, err := p.dial(0); err != nil {
			t.Fatal(err)
		}
		_ = p.socket.Emit(t.Context(), "event")
		p.listen(1)
		p.hangUp(why)
		if recovered, err := p.dial(0); err != nil || recovered != want {
			t.Errorf("%s: recovered %v, want %v, %v", why, recovered, want, err)
		}
	}
}

// The handlers of a socket that has gone are done before it is back, also where
// its client comes early, and whatever is sent meanwhile is there.
func TestRecoveryHandlers(t *testing.T) {
	var diary []string
	dialled := make(chan error, 1)
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	p := &phone{e: e}
	e.set(realtime.Policy{Handlers: []realtime.Handler{guest{
		connect: func(s *realtime.Socket) { diary = append(diary, fmt.Sprint("connect ", s.Recovered())) },
		disconnect: func(s *realtime.Socket, why string) {
			diary = append(diary, why)
			_ = s.Namespace().To("room").Emit(t.Context(), "meanwhile")
			go func() {
				recovered, err := p.dial(0)
				if err == nil && !recovered {
					err = errors.New("it is not recovered")
				}
				dialled <- err
			}()
			s.Leave("room")
			if !s.Namespace().IsSocketRoom(s.ID()) {
				t.Error("the own room is free")
			}
			if s.Namespace().To("room").Emit(t.Context(), "no more") != nil || len(dialled) > 0 {
				t.Error("it is back too early")
			}
			diary = append(diary, "done")
		},
	}}})
	_, _ = p.dial(0)
	p.socket.Join("room")
	_ = p.socket.Emit(t.Context(), "first")
	p.listen(1)
	socket := p.socket
	p.line.cut()
	socket.HandleDisconnect("transport close")
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	p.listen(10)
	equal(t, "heard", p.heard, []string{"first", "meanwhile"})
	equal(t, "handlers", diary, []string{"connect false", "transport close", "done", "connect true"})
	equal(t, "rooms", p.socket.Rooms(), []string{})
}

// What other nodes broadcast is held for those who are away, too.
func TestRecoveryCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := membroker.New(membroker.Options{})
		recovery := realtime.Recovery{Window: time.Minute}
		here := open(hub(t, realtime.Options{Broker: broker, Recovery: recovery}), realtime.Policy{})
		there := open(hub(t, realtime.Options{Broker: broker.Peer(), Recovery: recovery}), realtime.Policy{})
		p := &phone{e: here}
		_, _ = p.dial(0)
		p.socket.Join("room")
		id := p.socket.ID()
		emit := func(b realtime.Broadcast, event string) {
			t.Helper()
			if err := b.Emit(t.Context(), event); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		ns := there.Hub().Namespace("/")
		emit(ns.To(), "first")
		p.listen(1)
		foreign := &phone{e: there, pid: p.pid, offset: p.offset}
		p.hangUp("transport close")
		emit(ns.To("room"), "second")
		emit(here.Hub().Namespace("/").To("room"), "third")
		emit(ns.To(id), "fourth")
		emit(ns.To("room").Except(id), "not this")
		emit(ns.To().Volatile(), "nor this")
		if recovered, err := foreign.dial(0); err != nil || recovered {
			t.Errorf("on another node: recovered %v, %v", recovered, err)
		}
		if recovered, err := p.dial(0); err != nil || !recovered {
			t.Errorf("recovered %v, %v", recovered, err)
		}
		emit(ns.To(), "fifth")
		p.listen(10)
		equal(t, "heard", p.heard, []string{"first", "second", "third", "fourth", "fifth"})
	})
}

// between is a context in which something happens in the midst of Emit.
type between struct {
	context.Context
	happens func()
}

func (b between) Value(any) any {
	b.happens()
	return nil
}

// What is sent to a socket that is being lost goes to the one in its place.
func TestRecoveryEmitBetween(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	for name, redials := range map[string]bool{"while it is away": false, "when it is back": true} {
		p := &phone{e: e}
		_, _ = p.dial(0)
		_ = p.socket.Emit(t.Context(), "first")
		p.listen(1)
		dial := func() {
			if recovered, err := p.dial(0); err != nil || !recovered {
				t.Errorf("%s: recovered %v, %v", name, recovered, err)
			}
		}
		err := p.socket.Emit(between{t.Context(), func() {
			p.hangUp("transport close")
			if redials {
				dial()
			}
		}}, "second")
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !redials {
			dial()
		}
		p.listen(10)
		equal(t, name, p.heard, []string{"first", "second"})
	}
}

// What is held is bounded, by number, by size and by time, and freed.
func TestRecoveryMemory(t *testing.T) {
	heap := func() float64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / (1 << 20)
	}
	synctest.Test(t, func(t *testing.T) {
		h, err := realtime.NewHub(realtime.Options{Recovery: realtime.Recovery{Window: time.Minute, MaxEvents: 5000}})
		if err != nil {
			t.Fatal(err)
		}
		e := open(h, realtime.Policy{})
		ns := h.Namespace("/")
		flood := func(n, size int) {
			for range n {
				text := `"` + strings.Repeat("x", size) + `"`
				if err := ns.To().Emit(t.Context(), "flood", arg(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		crowd := func(n int) {
			for range n {
				p := &phone{e: e}
				_, _ = p.dial(0)
				_ = p.socket.Emit(t.Context(), "hello")
				p.listen(1)
				p.hangUp("transport close")
			}
		}
		before := heap()
		step := func(what string, least, most float64) {
			t.Helper()
			if mb := heap() - before; mb < least || mb > most {
				t.Errorf("%s: %.1f MB are held, want between %g and %g", what, mb, least, most)
			} else {
				t.Logf("%s: %.1f MB", what, mb)
			}
		}
		flood(6_000, 1000)
		step("5000 events of 1 kB", 5, 9)
		flood(100, 1_000_000)
		step("32 events of 1 MB", 25, 40)
		flood(5000, 10)
		step("5000 small events", 0.5, 8)
		crowd(3_000)
		step("3000 who are away", 0.5, 8)
		time.Sleep(2 * time.Minute)
		step("after the window", -1, 1)
		flood(6_000, 1000)
		crowd(1000)
		h.SetRecovery(realtime.Recovery{})
		step("turned off", -1, 1)
		h.SetRecovery(realtime.Recovery{Window: time.Hour})
		flood(6_000, 1000)
		h.SetRecovery(realtime.Recovery{Window: time.Hour, MaxEvents: 100})
		step("less", -1, 1.5)
		crowd(1000)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		step("closed", -1, 1)
		runtime.KeepAlive(h)
	})
}

// A client that enters and leaves rooms all the time takes no more memory for
// it, and is recovered if it has got all that was sent before.
func TestRecoveryWanderer(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	ns := e.Hub().Namespace("/")
	for _, listens := range []bool{true, false} {
		p := &phone{e: e}
		_, _ = p.dial(0)
		_ = p.socket.Emit(t.Context(), "first")
		p.listen(1)
		for i := range 2000 {
			room := strconv.Itoa(i)
			p.socket.Join(room)
			_ = ns.To(room).Emit(t.Context(), "event")
			p.socket.Leave(room)
		}
		if listens {
			p.listen(1990)
		}
		p.hangUp("transport close")
		recovered, err := p.dial(0)
		if err != nil || recovered != listens {
			t.Errorf("listens %v: recovered %v, %v", listens, recovered, err)
		}
		p.listen(1 << 30)
		if listens && len(p.heard) != 2001 {
			t.Errorf("%d events have been heard, not 2001", len(p.heard))
		}
	}
}

// Connections that cannot be recovered get no ids, and what is sent to them
// alone no offsets.
func TestRecoveryOfOthers(t *testing.T) {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: time.Minute}}), realtime.Policy{})
	m := join(t, e)
	if err := m.Emit(t.Context(), "event"); err != nil {
		t.Fatal(err)
	}
	for _, message := range m.client.received() {
		if message.Offset() != "" {
			t.Errorf("%s has the offset %q", message.Event, message.Offset())
		}
	}
	if m.PrivateID() != "" {
		t.Errorf("the private id is %q", m.PrivateID())
	}
}

// Interface guards
var _ realtime.RecoverableConn = (*line)(nil)
