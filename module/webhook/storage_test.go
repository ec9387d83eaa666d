package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestReload: another configuration has the same storage, and nothing is written
// for that; or another one, and everything is there.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 204}
		p := run(t, d, l, 0)
		for range 10 {
			p.connect()
		}
		time.Sleep(2 * flushInterval)
		segments := func(d *waltest.Disk) []string {
			return slices.DeleteFunc(d.Names(), func(name string) bool { return strings.HasSuffix(name, "-alive") })
		}
		before := segments(d)
		reload := func(d *waltest.Disk) {
			old := p.backend
			p.use(d)
			p.queue.Leave(t.Context(), old)
		}
		reload(d)
		time.Sleep(time.Minute)
		if after := segments(d); len(after) == 0 || !slices.Equal(before, after) {
			t.Errorf("%q became %q", before, after)
		}
		other := waltest.New()
		reload(other)
		time.Sleep(2 * flushInterval)
		if names := d.Names(); len(names) > 0 {
			t.Errorf("in the old place there are %q", names)
		}
		// A place that fails just then.
		other.Fail(errors.New("not now"))
		third := waltest.New()
		third.Fail(errors.New("not yet"))
		reload(third)
		time.Sleep(time.Minute)
		third.Fail(nil)
		time.Sleep(2 * storageRetry)
		p, told := p.replace()
		if len(told) != 10 {
			t.Errorf("%d are told of", len(told))
		}
		p.exit()
	})
}

// TestGoesBack: the configuration that cannot start has another storage. The records are
// there for a while, and then in the old place again.
func TestGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, other, l := waltest.New(), waltest.New(), &recorder{status: 204}
		p := run(t, d, l, 0)
		p.connect()
		time.Sleep(2 * flushInterval)
		old := p.backend
		p.use(other)
		p.connect()
		time.Sleep(2 * flushInterval)
		if len(d.Names()) > 0 || len(other.Names()) == 0 {
			t.Errorf("in the old place there are %q, and in the new one %q", d.Names(), other.Names())
		}
		p.queue.Use(old)
		p.queue.Leave(t.Context(), p.backend)
		p.backend, p.disk = old, d
		if names := other.Names(); len(names) > 0 {
			t.Errorf("in the new place there are %q", names)
		}
		time.Sleep(2 * flushInterval)
		p, told := p.replace()
		if len(told) != 2 {
			t.Errorf("after the crash: told of %d", len(told))
		}
		p.exit()
	})
}

// TestWithoutBackend: a configuration without the backend, and then one that has
// it again.
func TestWithoutBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 503}
		p := run(t, d, l, 0)
		gone, kept := p.connect(), p.connect()
		gone.socket.HandleDisconnect(reason.TransportClose)
		p.queue.Leave(t.Context(), p.backend)
		if n := p.queue.Lost(); n != 0 {
			t.Errorf("%d are lost", n)
		}
		l.take()
		l.set(204)
		p.use(d)
		p.queue.Adopt(kept.socket)
		p.queue.Adopt(gone.socket) // who looks for sockets may have found it before it went
		time.Sleep(5 * time.Second)
		told, _ := l.take()
		if len(told) != 1 || told[0].Data.Socket.ID != gone.socket.ID() {
			t.Errorf("told %v", tellings(told))
		}
		p, told = p.replace()
		if len(told) != 1 || told[0].Data.Socket.ID != kept.socket.ID() {
			t.Errorf("after the crash: told %v", tellings(told))
		}
		p.exit()
	})
}

// TestStateIsKept: a node_lost has the state that the last answer set.
func TestStateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 204}
		p := run(t, d, l, 0)
		c := p.connect()
		time.Sleep(2 * flushInterval)
		c.socket.SetData(map[string]json.RawMessage{"a": json.RawMessage("2"), "big": json.RawMessage("1")})
		p.queue.records.changed(c.socket)
		time.Sleep(2 * flushInterval)
		big := p.connect()
		big.socket.SetData(map[string]json.RawMessage{"b": json.RawMessage(`"` + strings.Repeat("x", maxState) + `"`)})
		time.Sleep(2 * flushInterval)
		if size := d.Size(); size > 10_000 {
			t.Errorf("%d bytes are kept", size)
		}
		p, told := p.replace()
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
		d, l := waltest.New(), &recorder{status: 204}
		p := run(t, d, l, 0)
		h, abandoned := p.handshake(), p.handshake()
		if _, err := p.hub.Namespace("/").Authenticate(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		identity, err := p.hub.Namespace("/").Authenticate(t.Context(), abandoned)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * flushInterval)
		identity.Discard()
		time.Sleep(2 * flushInterval)
		told, _ := l.take()
		if len(told) != 1 || told[0].Data.Socket.ID != abandoned.SocketID {
			t.Errorf("told %v", tellings(told))
		}
		p, told = p.replace()
		if len(told) != 1 || told[0].Data.Socket.ID != h.SocketID {
			t.Errorf("after the crash: told %v", tellings(told))
		}
		p.exit()
	})
}

// TestStorageFails: nothing else does, and what has changed meanwhile is written
// when it can be.
func TestStorageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 204}
		d.Fail(errors.New("read-only"))
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
		d.Fail(nil)
		time.Sleep(2 * storageRetry)
		d.Fail(errors.New("again"))
		third := p.connect()
		time.Sleep(time.Minute)
		second.socket.HandleDisconnect(reason.TransportClose)
		d.Fail(nil)
		time.Sleep(2 * storageRetry)
		l.take()
		p, told := p.replace()
		if len(told) != 1 || told[0].Data.Socket.ID != third.socket.ID() {
			t.Errorf("told %v", tellings(told))
		}
		// An exit without storage, and without the backend.
		p.connect().socket.HandleDisconnect(reason.TransportClose)
		synctest.Wait()
		p.recorder.set(503)
		p.disk.Fail(errors.New("full"))
		p.connect().socket.HandleDisconnect(reason.TransportClose)
		began := time.Now()
		p.exit()
		if took := time.Since(began); took > flushTime+time.Second || p.queue.Lost() != 1 {
			t.Errorf("%d lost after %v", p.queue.Lost(), took)
		}
	})
}

// TestJournalIsBounded: more than that it does not take, and does not give.
func TestJournalIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 503}
		p := run(t, d, l, 0)
		for i := range maxWaiting + 10 {
			p.queue.add(someDisconnect(strconv.Itoa(i), time.Hour))
		}
		for range 3 {
			p.connect()
		}
		time.Sleep(2 * flushInterval)
		if lost := p.queue.Lost(); lost != 10 {
			t.Errorf("%d are lost, want 10", lost)
		}
		after := waltest.At(d.Now())
		p.exit()
		second := &recorder{status: 204}
		p = run(t, after, second, 0)
		time.Sleep(takeoverTime)
		if lost := p.queue.Lost(); lost != 3 {
			t.Errorf("%d are lost, want 3", lost)
		}
		if told, _ := second.take(); len(told) > 3 {
			t.Errorf("%d are told of while their clients may come back", len(told))
		}
		p.exit()
	})
}

// BenchmarkRecords measures what it costs to keep records of sockets that connect at
// once, and to write them.
func BenchmarkRecords(b *testing.B) {
	const sockets = 10_000
	l := &recorder{status: 204}
	hub, err := realtime.NewHub(realtime.Options{})
	if err != nil {
		b.Fatal(err)
	}
	w := &world{t: b, hub: hub}
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
	bytes, connecting := 0, time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		d, q := waltest.New(), new(Queue)
		backend := New(Options{URL: "http://backend/realtime", Transport: l.transport(), Storage: d.Storage(), Hub: hub}, q)
		q.Use(backend)
		b.StartTimer()
		began := time.Now()
		for _, c := range clients {
			q.records.connected(c.socket)
		}
		connecting += time.Since(began)
		if err := q.records.stop(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		bytes = d.Written()
		q.Leave(b.Context(), backend)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sockets), "ns/socket")
	b.ReportMetric(float64(connecting.Nanoseconds())/float64(b.N*sockets), "ns/connect")
	b.ReportMetric(float64(bytes)/sockets, "B/socket")
	_ = hub.Close()
}
