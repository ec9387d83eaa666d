package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// settling is how long it takes until a process has taken over what another one
// has left without an end.
const settling = silence + 5*time.Second

// TestNodeLost: those who are there when the process is killed are told of by the
// next one.
func TestNodeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, first := newDisk(), &ledger{status: 204}
		p := run(t, d, first, 0)
		left, stays := p.connect(), p.connect()
		connected := stays.socket.ConnectedAt()
		node := p.hub.Node()
		time.Sleep(3 * time.Second)
		left.socket.HandleDisconnect(reason.TransportClose)
		time.Sleep(27 * time.Second)
		d = p.crash(d)

		second := &ledger{status: 204}
		p = run(t, d, second, 0)
		time.Sleep(settling)
		told, _ := second.take()
		if len(told) != 1 {
			t.Fatalf("%d are told of", len(told))
		}
		checkSchema(t, "disconnect-request", told[0].body)
		var body struct {
			Data struct {
				Socket     struct{ ID, Node, User string }
				State      map[string]int
				Initiator  string
				Reason     string
				DurationMS int64 `json:"duration_ms"`
			}
		}
		if err := json.Unmarshal(told[0].body, &body); err != nil {
			t.Fatal(err)
		}
		b := body.Data
		if b.Socket.ID != stays.socket.ID() || b.Socket.Node != node || b.Socket.User != "u1" || b.State["a"] != 1 || b.Initiator != "node_lost" || b.Reason != reason.TransportClose {
			t.Errorf("told %s", told[0].body)
		}
		if lived := time.Duration(b.DurationMS) * time.Millisecond; lived > 30*time.Second || lived < 30*time.Second-aliveEvery {
			t.Errorf("a socket of %v, whose process was killed after 30s, is said to have lived for %v", connected, lived)
		}
		if h := told[0].header; h.Get("X-Forwarded-Host") != "rt.example.com:8443" || h.Get("X-Forwarded-For") != "203.0.113.7" {
			t.Errorf("told with %v", h)
		}
		if names := d.names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
		p.exit()
	})
}

// TestCrash: wherever a process is killed, everybody who was there, or whose
// departure had not been told, is told of by the next one, or the one after that
// if it is killed as well, by the id that the first one would have used.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		d, first := newDisk(), &ledger{status: 204}
		d.record(true)
		p := run(t, d, first, 0)
		connected := make(map[string]time.Time)
		var here []*client
		for step := range 300 {
			if random.IntN(5) < 3 {
				c := p.connect()
				here = append(here, c)
				connected[c.socket.ID()] = time.Now()
			} else if len(here) > 0 {
				i := random.IntN(len(here))
				here[i].socket.HandleDisconnect(reason.TransportClose)
				here = slices.Delete(here, i, i+1)
			}
			if step%50 == 49 {
				first.set(503 - first.status + 204) // the backend comes and goes
			}
			time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		}
		told, times := first.take()
		moments := d.record(false)
		p.crash(d)
		t.Logf("%d changes of the disk", len(moments))

		for number, m := range moments {
			before := make(map[string]string) // ids, by sockets
			taken := make(map[string]time.Time)
			for i, one := range told {
				if times[i].Before(m.time) {
					before[one.Data.Socket.ID] = one.header.Get("Webhook-Id")
					if one.status == 204 {
						taken[one.Data.Socket.ID] = times[i]
					}
				}
			}
			after := diskAt(m)
			after.record(true)
			second := &ledger{status: 204}
			q := run(t, after, second, 0)
			time.Sleep(settling)
			again := after.record(false)
			got, _ := second.take()
			q.exit()
			third := &ledger{status: 204}
			q = run(t, diskAt(again[random.IntN(len(again))]), third, 0)
			time.Sleep(settling)
			more, _ := third.take()
			q.exit()

			all := tellings(append(got, more...))
			for id, from := range connected {
				if len(all[id]) > 1 {
					t.Errorf("change %d: a socket is told of by %d ids", number, len(all[id]))
				}
				for by := range all[id] {
					if earlier, ok := before[id]; ok && earlier != by {
						t.Errorf("change %d: a socket is told of by %s, and then by %s", number, earlier, by)
					}
				}
				written := m.time.Add(-saveEvery - 10*time.Millisecond)
				at, ok := taken[id]
				if from.Before(written) && !ok && len(all[id]) == 0 {
					t.Errorf("change %d: a socket that connected %v before is not told of", number, m.time.Sub(from))
				}
				if ok && at.Before(written) && len(all[id]) > 0 {
					t.Errorf("change %d: a socket is told of again, as it was %v before", number, m.time.Sub(at))
				}
			}
			if len(got) != len(tellings(got)) {
				t.Errorf("change %d: %d are told of %d sockets", number, len(got), len(tellings(got)))
			}
		}
	})
}

// TestTakenIsNotTold: what the backend took before a crash it is not told again.
func TestTakenIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, 0)
		var clients []*client
		for i := range 200 {
			clients = append(clients, p.connect())
			if i%10 == 0 {
				time.Sleep(saveEvery)
			}
		}
		for i, c := range clients[:150] {
			c.socket.HandleDisconnect(reason.TransportClose)
			if i%10 == 0 {
				time.Sleep(saveEvery)
			}
		}
		time.Sleep(2 * saveEvery)
		d = p.crash(d)
		second := &ledger{status: 204}
		p = run(t, d, second, 0)
		time.Sleep(settling)
		told, _ := second.take()
		if len(told) != 50 || len(tellings(told)) != 50 {
			t.Errorf("%d are told of %d sockets, want 50", len(told), len(tellings(told)))
		}
		p.exit()
	})
}

// TestSuspend: what the backend did not take at an exit it is told after the next
// start, by the same ids; also of those who do not come back.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window = time.Minute
		d, first := newDisk(), &ledger{status: 503}
		p := run(t, d, first, window)
		var clients []*client
		for range 3 {
			c := recoverable{new(client)}
			if _, err := p.hub.Namespace("/").Connect(t.Context(), p.handshake(), c); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c.client)
		}
		left, back, away := clients[0].socket, clients[1].socket, clients[2].socket
		left.HandleDisconnect(reason.ClientDisconnect)
		for _, s := range []*realtime.Socket{back, away} {
			s.HandleDisconnect(reason.ShuttingDown)
		}
		began := time.Now()
		p.exit()
		if took := time.Since(began); took > flushTime+time.Second {
			t.Errorf("the exit took %v", took)
		}
		if n := p.queue.Lost(); n != 0 {
			t.Errorf("%d are lost", n)
		}
		told, _ := first.take()
		before := tellings(told)
		if len(before) != 1 || len(before[left.ID()]) != 1 {
			t.Errorf("at the exit it is told of %v", before)
		}

		second := &ledger{status: 204}
		p = run(t, d, second, window)
		p.queue.cancel(back.ID()) // at once: it may not even have been read
		time.Sleep(10 * time.Second)
		told, _ = second.take()
		if got := tellings(told); len(got) != 1 || !maps.Equal(got[left.ID()], before[left.ID()]) {
			t.Errorf("after the start it is told of %v, and not of %v", got, before)
		}
		time.Sleep(window)
		told, times := second.take()
		if got := tellings(told); len(told) != 1 || !slices.Contains(slices.Collect(maps.Values(got[away.ID()])), "drain server shutting down") {
			t.Errorf("after the window it is told of %v", got)
		} else if waited := times[0].Sub(began); waited < window {
			t.Errorf("it is told after %v already", waited)
		}
		if names := d.names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
		p.exit()
	})
}

// TestReturnLater: a client that is back before its departure is due, but after
// that has been read.
func TestReturnLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, time.Minute)
		c := recoverable{new(client)}
		if _, err := p.hub.Namespace("/").Connect(t.Context(), p.handshake(), c); err != nil {
			t.Fatal(err)
		}
		c.socket.HandleDisconnect(reason.ShuttingDown)
		p.exit()
		p = run(t, d, l, time.Minute)
		time.Sleep(20 * time.Second)
		p.queue.cancel(c.socket.ID())
		time.Sleep(2 * time.Minute)
		if told, _ := l.take(); len(told) != 0 || len(d.names()) != 0 {
			t.Errorf("%d are told of, and there are %q", len(told), d.names())
		}
		p.exit()
	})
}

// TestHandover: a process that still lives keeps what is its own, until it ends.
func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		old := run(t, d, l, 0)
		c := old.connect()
		time.Sleep(10 * time.Second)
		young := run(t, d, l, 0)
		time.Sleep(time.Minute)
		if told, _ := l.take(); len(told) != 0 {
			t.Errorf("%d are told of who are still there", len(told))
		}
		l.set(503)
		c.socket.HandleDisconnect(reason.ShuttingDown)
		old.exit()
		l.set(204)
		time.Sleep(2 * lookEvery)
		told, _ := l.take()
		if len(tellings(told)) != 1 || len(tellings(told)[c.socket.ID()]) != 1 || told[len(told)-1].Data.Socket.ID != c.socket.ID() {
			t.Errorf("told %v", tellings(told))
		}
		young.exit()
		if names := d.names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
	})
}

// TestReload: another configuration has the same storage, and nothing is written
// for that; or another one, and everything is there.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, 0)
		for range 10 {
			p.connect()
		}
		time.Sleep(2 * saveEvery)
		segments := func(d *disk) []string {
			return slices.DeleteFunc(d.names(), func(name string) bool { return strings.HasSuffix(name, "-alive") })
		}
		before := segments(d)
		reload := func(d *disk) {
			b := New(Options{URL: "http://backend/realtime", Transport: l.transport(), Storage: d.shelf(), Hub: p.hub}, p.queue)
			p.queue.Attach(b)
			p.queue.Detach(t.Context(), p.backend)
			p.backend = b
		}
		reload(d)
		time.Sleep(time.Minute)
		if after := segments(d); len(after) == 0 || !slices.Equal(before, after) {
			t.Errorf("%q became %q", before, after)
		}
		other := newDisk()
		reload(other)
		time.Sleep(2 * saveEvery)
		if names := d.names(); len(names) > 0 {
			t.Errorf("in the old place there are %q", names)
		}
		// A place that fails just then.
		other.set(errors.New("not now"))
		third := newDisk()
		third.set(errors.New("not yet"))
		reload(third)
		time.Sleep(time.Minute)
		third.set(nil)
		time.Sleep(2 * lastResave)
		after := p.crash(third)
		second := &ledger{status: 204}
		p = run(t, after, second, 0)
		time.Sleep(settling)
		if told, _ := second.take(); len(told) != 10 {
			t.Errorf("%d are told of", len(told))
		}
		p.exit()
	})
}

// TestWithoutBackend: a configuration without the backend, and then one that has
// it again.
func TestWithoutBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 503}
		p := run(t, d, l, 0)
		gone, stays := p.connect(), p.connect()
		gone.socket.HandleDisconnect(reason.TransportClose)
		p.queue.Detach(t.Context(), p.backend)
		if n := p.queue.Lost(); n != 0 {
			t.Errorf("%d are lost", n)
		}
		l.take()
		l.set(204)
		p.queue.Attach(p.backend)
		p.queue.Adopt(stays.socket)
		p.queue.Adopt(gone.socket) // who looks for sockets may have found it before it went
		time.Sleep(5 * time.Second)
		told, _ := l.take()
		if len(told) != 1 || told[0].Data.Socket.ID != gone.socket.ID() {
			t.Errorf("told %v", tellings(told))
		}
		d = p.crash(d)
		second := &ledger{status: 204}
		p = run(t, d, second, 0)
		time.Sleep(settling)
		if told, _ := second.take(); len(told) != 1 || told[0].Data.Socket.ID != stays.socket.ID() {
			t.Errorf("after the crash: told %v", tellings(told))
		}
		p.exit()
	})
}

// TestStateIsKept: a node_lost has the state that the last answer set.
func TestStateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, 0)
		c := p.connect()
		time.Sleep(2 * saveEvery)
		c.socket.SetData(map[string]json.RawMessage{"a": json.RawMessage("2"), "big": json.RawMessage("1")})
		p.queue.changed(c.socket)
		time.Sleep(2 * saveEvery)
		big := p.connect()
		big.socket.SetData(map[string]json.RawMessage{"b": json.RawMessage(`"` + strings.Repeat("x", maxState) + `"`)})
		time.Sleep(2 * saveEvery)
		d = p.crash(d)
		if size := d.size(); size > 10_000 {
			t.Errorf("%d bytes are kept", size)
		}
		second := &ledger{status: 204}
		p = run(t, d, second, 0)
		time.Sleep(settling)
		told, _ := second.take()
		states := make(map[string]string)
		for _, m := range told {
			states[m.Data.Socket.ID] = fmt.Sprint(m.Data.State)
		}
		if states[c.socket.ID()] != "map[a:2 big:1]" || states[big.socket.ID()] != "map[]" {
			t.Errorf("the states are %v", states)
		}
		p.exit()
	})
}

// TestAuthenticatedIsKept: the backend has let a client in, and then the process
// is killed.
func TestAuthenticatedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, 0)
		h, abandoned := p.handshake(), p.handshake()
		if _, err := p.hub.Namespace("/").Authenticate(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		identity, err := p.hub.Namespace("/").Authenticate(t.Context(), abandoned)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * saveEvery)
		identity.Discard()
		time.Sleep(2 * saveEvery)
		told, _ := l.take()
		if len(told) != 1 || told[0].Data.Socket.ID != abandoned.SocketID {
			t.Errorf("told %v", tellings(told))
		}
		d = p.crash(d)
		second := &ledger{status: 204}
		p = run(t, d, second, 0)
		time.Sleep(settling)
		if told, _ := second.take(); len(told) != 1 || told[0].Data.Socket.ID != h.SocketID {
			t.Errorf("after the crash: told %v", tellings(told))
		}
		p.exit()
	})
}

// TestStorageFails: nothing else does, and what has changed meanwhile is written
// when it can be.
func TestStorageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		d.set(errors.New("read-only"))
		p := run(t, d, l, 0)
		first, second := p.connect(), p.connect()
		time.Sleep(10 * time.Minute)
		first.socket.HandleDisconnect(reason.TransportClose)
		synctest.Wait()
		if told, _ := l.take(); len(told) != 1 {
			t.Errorf("%d are told of", len(told))
		}
		const message = "what the backend is to be told cannot be stored, and would not survive this process"
		if n := p.logs.FilterMessage(message).Len(); n < 5 || n > 25 {
			t.Errorf("%d lines of it in 10 minutes", n)
		}
		d.set(nil)
		time.Sleep(2 * lastResave)
		d.set(errors.New("again"))
		third := p.connect()
		time.Sleep(time.Minute)
		second.socket.HandleDisconnect(reason.TransportClose)
		d.set(nil)
		time.Sleep(2 * lastResave)
		l.take()
		d = p.crash(d)
		l = &ledger{status: 204}
		p = run(t, d, l, 0)
		time.Sleep(settling)
		if told, _ := l.take(); len(told) != 1 || told[0].Data.Socket.ID != third.socket.ID() {
			t.Errorf("told %v", tellings(told))
		}
		// An exit without storage, and without the backend.
		p.connect().socket.HandleDisconnect(reason.TransportClose)
		synctest.Wait()
		l.set(503)
		d.set(errors.New("full"))
		p.connect().socket.HandleDisconnect(reason.TransportClose)
		began := time.Now()
		p.exit()
		if took := time.Since(began); took > flushTime+time.Second || p.queue.Lost() != 1 {
			t.Errorf("%d lost after %v", p.queue.Lost(), took)
		}
	})
}

// TestCorrupt: what cannot be understood is left out, and does not stay.
func TestCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, 0)
		for _, n := range []int{48, 12, 3, 1} {
			for range n {
				p.connect()
			}
			time.Sleep(2 * saveEvery)
		}
		whole := p.crash(d)
		names := whole.names()
		if len(names) < 3 {
			t.Fatalf("there are only %q", names)
		}
		for i, name := range names {
			for _, how := range []func(value []byte) []byte{
				func([]byte) []byte { return nil },
				func(value []byte) []byte { return value[:len(value)/2] },
				func(value []byte) []byte {
					value = slices.Clone(value)
					value[len(value)-5] ^= 4
					return value
				},
			} {
				d := diskAt(moment{values: whole.values})
				d.values[name] = how(d.values[name])
				d.values["123456789"] = []byte("left by a write that was cut off")
				l := &ledger{status: 204}
				p := run(t, d, l, 0)
				time.Sleep(2 * settling)
				told, _ := l.take()
				if mark := i == len(names)-1; len(told) >= 64 && !mark || len(told) == 0 || mark && len(told) != 64 {
					t.Errorf("without %s %d are told of", name, len(told))
				}
				p.exit()
				if names := d.names(); len(names) > 1 { // and what is foreign, while there is a journal
					t.Errorf("afterwards there are %q", names)
				}
				p = run(t, d, l, 0)
				time.Sleep(5 * time.Second)
				p.exit()
				if names := d.names(); len(names) > 0 {
					t.Errorf("and in the end %q", names)
				}
			}
		}
	})
}

// TestJournalIsBounded: more than that it does not take, and does not give.
func TestJournalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 503}
		p := run(t, d, l, 0)
		for i := range maxWaiting + 10 {
			p.queue.add(departureFrom(fmt.Sprint(i), time.Hour))
		}
		for range 3 {
			p.connect()
		}
		time.Sleep(2 * saveEvery)
		if lost := p.queue.Lost(); lost != 10 {
			t.Errorf("%d are lost, want 10", lost)
		}
		after := diskAt(moment{values: d.values})
		p.exit()
		second := &ledger{status: 204}
		p = run(t, after, second, 0)
		time.Sleep(settling)
		if lost := p.queue.Lost(); lost != 3 {
			t.Errorf("%d are lost, want 3", lost)
		}
		if told, _ := second.take(); len(told) > 3 {
			t.Errorf("%d are told of while their clients may come back", len(told))
		}
		p.exit()
	})
}

// departureFrom is departureOf with all that a journal wants to know.
func departureFrom(id string, hold time.Duration) *departure {
	d := departureOf(id, hold)
	d.data.State = make(map[string]json.RawMessage)
	d.data.Reason, d.data.Initiator = reason.TransportClose, "network"
	d.data.Socket.ConnectedAt = time.Now().UTC().Format(timeFormat)
	return d
}

// TestCompaction: what is written is in proportion to what changes, and what is
// there to what there is.
func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := newDisk(), &ledger{status: 204}
		p := run(t, d, l, 0)
		for range 2000 {
			p.connect()
		}
		time.Sleep(2 * saveEvery)
		size, written := d.size(), d.written()
		// One of them changes each second.
		const changes = 1000
		most := 0
		for range changes {
			c := p.connect()
			time.Sleep(saveEvery)
			c.socket.HandleDisconnect(reason.TransportClose)
			time.Sleep(saveEvery)
			most = max(most, len(d.names()))
		}
		each := (d.written() - written) / changes
		t.Logf("2000 sockets are %d bytes; of 1000 that came and went, each cost %d bytes written; there were %d values at most", size, each, most)
		if d.size() > 3*size || most > 30 || each > 40*size/2000 {
			t.Errorf("%d bytes became %d", size, d.size())
		}
		p.crash(d)
	})
}

// BenchmarkJournal has many connect at once. It is only the journal that is
// measured: a socket's debt, its record, and the writing.
func BenchmarkJournal(b *testing.B) {
	const sockets = 10_000
	l := &ledger{status: 204}
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		b.Fatal(err)
	}
	w := &world{t: b, hub: hub, queue: new(Queue)}
	endpoint := realtime.NewEndpoint("test", hub, func() (*realtime.Policy, func()) { return new(realtime.Policy), func() {} })
	w.endpoint = endpoint
	clients := make([]*client, sockets)
	for i := range clients {
		c := new(client)
		identity := realtime.Identity{User: fmt.Sprint("user", i), Data: map[string]json.RawMessage{
			"userId": json.RawMessage(`"u1"`), "organizationId": json.RawMessage(`"o1"`), "role": json.RawMessage(`"admin"`), "email": json.RawMessage(`"a@b.c"`),
		}}
		if _, err := hub.Namespace("/").Accept(b.Context(), w.handshake(), identity, c); err != nil {
			b.Fatal(err)
		}
		clients[i] = c
	}
	d := newDisk()
	backend := New(Options{URL: "http://backend/realtime", Transport: l.transport(), Storage: d.shelf(), Hub: hub}, w.queue)
	bytes, path := 0, time.Duration(0)
	for b.Loop() {
		d.values, d.bytes = make(map[string][]byte), 0
		q := new(Queue)
		q.journal.run, q.journal.sockets = someRun, make(map[string]*debt)
		began := time.Now()
		for _, c := range clients {
			q.connected(c.socket)
		}
		path += time.Since(began)
		if err := q.save(b.Context(), backend, false); err != nil {
			b.Fatal(err)
		}
		bytes = d.bytes
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sockets), "ns/socket")
	b.ReportMetric(float64(path.Nanoseconds())/float64(b.N*sockets), "ns/connect")
	b.ReportMetric(float64(bytes)/sockets, "B/socket")
	_ = hub.Close()
}
