package realtime_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A simulation has clients, and a model of what each of them must receive.
type simulation struct {
	random    *rand.Rand
	ns        *realtime.Namespace
	clients   []*recoverableClient
	models    []*model
	events    int
	recovered int // how many times a client recovered
	refused   int // how many times it did not
}

// A model says what a client must receive, and its state in the namespace.
type model struct {
	rooms          map[string]bool
	member         bool // connected, or disconnected and recoverable
	expected       []string
	expectedAt     []time.Time
	connectedAt    time.Time // when it got a new socket
	disconnectedAt time.Time
	lost           time.Time // when the last event was sent that it had received; disconnectedAt if it had received all
	revoked        bool      // must not recover
	noOffset       bool      // has received no event, so that it has no offset
}

// expect records that the client must receive an event.
func (m *model) expect(event string) {
	m.expected = append(m.expected, event)
	m.expectedAt = append(m.expectedAt, time.Now())
}

var modelRooms = []string{"red", "green", "blue"}

// run lets n random things happen. The error says what a client received wrongly or not at all.
func (w *simulation) run(n int, strict bool) error {
	for range n {
		i := w.random.IntN(len(w.clients))
		c, m := w.clients[i], w.models[i]
		switch w.random.IntN(13) {
		case 0, 1:
			if c.socket == nil {
				if err := w.connect(i, strict); err != nil {
					return err
				}
			}
		case 2:
			if c.socket != nil && w.random.IntN(3) == 0 {
				why := "transport close"
				if m.revoked = w.random.IntN(6) == 0; m.revoked {
					why = "client namespace disconnect"
					m.member = false
				}
				w.disconnect(i, why)
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
			c.receive(w.random.IntN(5))
		case 7:
			if s := w.socket(i); s != nil {
				event := w.event()
				if err := s.Emit(context.Background(), event); err != nil {
					return err
				}
				m.expect(event)
			}
		case 8:
			if s := w.socket(i); s != nil && c.socket == nil && w.random.IntN(6) == 0 {
				if err := s.Disconnect(w.random.IntN(2) == 0); err != nil {
					return err
				}
				m.revoked, m.member = true, false
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
	for i, c := range w.clients {
		if c.socket == nil {
			if err := w.connect(i, strict); err != nil {
				return err
			}
		}
		c.receive(1 << 30)
		if err := w.check(i, true); err != nil {
			return err
		}
	}
	return nil
}

// disconnect breaks a client's connection, and records what it may miss by that.
func (w *simulation) disconnect(i int, why string) {
	c, m := w.clients[i], w.models[i]
	m.noOffset, m.disconnectedAt, m.lost = c.offset == "", time.Now(), time.Now()
	switch n := len(c.received); {
	case n == len(m.expected):
	case n == 0:
		m.lost = m.connectedAt
	default:
		m.lost = m.expectedAt[n-1] // the next event may have been for others, but is not held any more
	}
	c.disconnect(why)
}

// socket returns a client's socket, either kept from before or found now. It returns nil if there
// is none.
func (w *simulation) socket(i int) *realtime.Socket {
	c := w.clients[i]
	if c.last == nil {
		return nil
	}
	found := w.ns.Find(realtime.Selector{Sockets: []string{c.last.ID()}})
	switch {
	case len(found) == 0:
		return nil
	case c.last.Namespace() == w.ns && w.random.IntN(2) == 0:
		return c.last
	}
	return found[0]
}

func (w *simulation) room() string { return modelRooms[w.random.IntN(len(modelRooms))] }

func (w *simulation) event() string {
	w.events++
	return fmt.Sprint("event ", w.events)
}

func (w *simulation) connect(i int, strict bool) error {
	c, m := w.clients[i], w.models[i]
	recovered, err := c.connect(w.random.IntN(2) * 20)
	if err != nil {
		return err
	}
	since := time.Since(m.disconnectedAt)
	switch {
	case recovered && m.revoked:
		return fmt.Errorf("client %d was recovered and must not be", i)
	case recovered && since > recoveryWindow:
		return fmt.Errorf("client %d was recovered after %v", i, since)
	case !recovered && strict && m.member && !m.revoked && !m.noOffset && c.conn.limit == 0 && time.Since(m.lost) < recoveryWindow:
		return fmt.Errorf("client %d was disconnected for %v and is not recovered", i, since)
	case recovered:
		w.recovered++
		rooms := c.socket.Rooms()
		if len(rooms) != len(m.rooms) || slices.ContainsFunc(rooms, func(room string) bool { return !m.rooms[room] }) {
			return fmt.Errorf("client %d is back in %v, not in %v", i, rooms, m.rooms)
		}
	default:
		w.refused++
		*m = model{rooms: make(map[string]bool), member: true, connectedAt: time.Now()}
	}
	m.revoked = false
	return nil
}

// broadcast sends an event to random rooms, and records which clients must receive it.
func (w *simulation) broadcast(i int) {
	sender := w.clients[i]
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
			return slices.ContainsFunc(modelRooms, func(room string) bool { return set[room] && m.rooms[room] })
		}
		if m.member && (own == "" || j != i) && (len(rooms) == 0 || in(rooms)) && !in(excluded) {
			m.expect(event)
		}
	}
}

// check compares what a client has received with what it must receive.
func (w *simulation) check(i int, whole bool) error {
	received, expected := w.clients[i].received, w.models[i].expected
	if len(received) > len(expected) || !slices.Equal(received, expected[:len(received)]) || whole && len(received) != len(expected) {
		return fmt.Errorf("client %d received\n%q, not\n%q", i, received, expected)
	}
	return nil
}

func newSimulation(t *testing.T, seed uint64, maxEvents int) *simulation {
	e := open(hub(t, realtime.Options{Recovery: realtime.Recovery{Window: recoveryWindow, MaxEvents: maxEvents}}), realtime.Policy{})
	w := &simulation{random: rand.New(rand.NewPCG(seed, 1)), ns: e.Hub().Namespace("/")}
	for range 5 {
		w.clients = append(w.clients, &recoverableClient{e: e})
		w.models = append(w.models, &model{rooms: make(map[string]bool)})
	}
	return w
}

// Clients come and go at random. One that recovers has received everything once and in order, and
// nothing else.
func TestRecoveryModel(t *testing.T) {
	for name, maxEvents := range map[string]int{"everything is kept": 0, "little is kept": 40} {
		t.Run(name, func(t *testing.T) {
			retries, refused := 0, 0
			for seed := range uint64(60) {
				synctest.Test(t, func(t *testing.T) {
					w := newSimulation(t, seed, maxEvents)
					// If all events fit, none that may be missed is too old.
					if err := w.run(600, maxEvents == 0); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					retries += w.recovered
					refused += w.refused
				})
			}
			t.Logf("%d recoveries, %d new sockets", retries, refused)
			if retries < 200 || refused < 100 {
				t.Error("too little happened")
			}
		})
	}
}

// The model detects every kind of fault.
func TestRecoveryModelDetectsFaults(t *testing.T) {
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
				w := newSimulation(t, seed, 0)
				for _, c := range w.clients {
					c.faulty = once(fault)
				}
				if w.run(1000, false) == nil {
					missed++
				}
			})
		}
		if missed > 0 {
			t.Errorf("%s: not detected in %d of 5 runs", name, missed)
		}
	}
}
