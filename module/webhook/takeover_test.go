package webhook

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/reason"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wal/waltest"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestNodeLost: those who are there when the process is killed are told of by the
// next one.
func TestNodeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := run(t, waltest.New(), &recorder{status: 204}, 0)
		left, kept := p.connect(), p.connect()
		connected := kept.socket.ConnectedAt()
		node := p.hub.Node()
		time.Sleep(3 * time.Second)
		left.socket.HandleDisconnect(reason.TransportClose)
		time.Sleep(27 * time.Second)

		p, told := p.replace()
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
		if b.Socket.ID != kept.socket.ID() || b.Socket.Node != node || b.Socket.User != "u1" || b.State["a"] != 1 || b.Initiator != "node_lost" || b.Reason != reason.TransportClose {
			t.Errorf("told %s", told[0].body)
		}
		if lived := time.Duration(b.DurationMS) * time.Millisecond; lived > 30*time.Second || lived < 30*time.Second-markInterval {
			t.Errorf("a socket of %v, whose process was killed after 30s, is said to have lived for %v", connected, lived)
		}
		if h := told[0].header; h.Get("X-Forwarded-Host") != "rt.example.com:8443" || h.Get("X-Forwarded-For") != "203.0.113.7" {
			t.Errorf("told with %v", h)
		}
		if names := p.disk.Names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
		p.exit()
	})
}

// TestCrash kills a process at random points. The next process tells the backend of every client
// that was connected, or whose disconnect had not been told. If that process is killed, too, the one
// after it does. All of them use the message id that the first would have used.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 2))
		d, first := waltest.New(), &recorder{status: 204}
		d.Record()
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
		moments := d.Recorded()
		p.crash()
		t.Logf("%d changes of the disk", len(moments))

		for number, m := range moments {
			before := make(map[string]string) // ids, by sockets
			taken := make(map[string]time.Time)
			for i, one := range told {
				if times[i].Before(m.Time) {
					before[one.Data.Socket.ID] = one.header.Get("Webhook-Id")
					if one.status == 204 {
						taken[one.Data.Socket.ID] = times[i]
					}
				}
			}
			after := waltest.At(m)
			after.Record()
			second := &recorder{status: 204}
			q := run(t, after, second, 0)
			time.Sleep(takeoverTime)
			again := after.Recorded()
			got, _ := second.take()
			q.exit()
			third := &recorder{status: 204}
			q = run(t, waltest.At(again[random.IntN(len(again))]), third, 0)
			time.Sleep(takeoverTime)
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
				written := m.Time.Add(-flushInterval - 10*time.Millisecond)
				at, ok := taken[id]
				if from.Before(written) && !ok && len(all[id]) == 0 {
					t.Errorf("change %d: a socket that connected %v before is not told of", number, m.Time.Sub(from))
				}
				if ok && at.Before(written) && len(all[id]) > 0 {
					t.Errorf("change %d: a socket is told of again, as it was %v before", number, m.Time.Sub(at))
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
		d, l := waltest.New(), &recorder{status: 204}
		p := run(t, d, l, 0)
		var clients []*client
		for i := range 200 {
			clients = append(clients, p.connect())
			if i%10 == 0 {
				time.Sleep(flushInterval)
			}
		}
		for i, c := range clients[:150] {
			c.socket.HandleDisconnect(reason.TransportClose)
			if i%10 == 0 {
				time.Sleep(flushInterval)
			}
		}
		time.Sleep(2 * flushInterval)
		p, told := p.replace()
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
		d, first := waltest.New(), &recorder{status: 503}
		p := run(t, d, first, window)
		left, back, away := p.connectRecoverable(), p.connectRecoverable(), p.connectRecoverable()
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

		second := &recorder{status: 204}
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
		if names := d.Names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
		p.exit()
	})
}

// TestReturnLater has a client that comes back before its disconnect is due, but after the disconnect
// has been read.
func TestReturnLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 204}
		p := run(t, d, l, time.Minute)
		s := p.connectRecoverable()
		s.HandleDisconnect(reason.ShuttingDown)
		p.exit()
		p = run(t, d, l, time.Minute)
		time.Sleep(20 * time.Second)
		p.queue.cancel(s.ID())
		time.Sleep(2 * time.Minute)
		if told, _ := l.take(); len(told) != 0 || len(d.Names()) != 0 {
			t.Errorf("%d are told of, and there are %q", len(told), d.Names())
		}
		p.exit()
	})
}

// TestHandover: a process that still lives keeps what is its own, until it ends.
func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, l := waltest.New(), &recorder{status: 204}
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
		time.Sleep(2 * lookInterval)
		told, _ := l.take()
		if len(tellings(told)) != 1 || len(tellings(told)[c.socket.ID()]) != 1 || told[len(told)-1].Data.Socket.ID != c.socket.ID() {
			t.Errorf("told %v", tellings(told))
		}
		young.exit()
		if names := d.Names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
	})
}

// TestFirstFormat takes over what a process wrote before package wal existed.
func TestFirstFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := waltest.New()
		files, err := filepath.Glob("testdata/log/*")
		if err != nil || len(files) != 2 {
			t.Fatalf("there are %q, %v", files, err)
		}
		for _, file := range files {
			value, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d.Set(filepath.Base(file), value)
		}
		l := &recorder{status: 204}
		p := run(t, d, l, 0)
		time.Sleep(takeoverTime)
		told, _ := l.take()
		var got []string
		for _, m := range told {
			checkSchema(t, "disconnect-request", m.body)
			for _, what := range tellings([]*message{m})[m.Data.Socket.ID] {
				got = append(got, m.header.Get("Webhook-Id")+" "+what)
			}
		}
		slices.Sort(got)
		want := []string{
			"msg_3CHnDDqedLQAece3vEIBCg node_lost transport close",
			"msg_4ynl_IHL_lx6D0PK3HkOLw node_lost transport close",
			"msg_N6JCaP1h9g5mCcty8LX0yg node_lost transport close",
			"msg_b0VN5w65dH2L1lCHI1g_8A client client namespace disconnect",
		}
		if !slices.Equal(got, want) {
			t.Errorf("told %q\nwant %q", got, want)
		}
		time.Sleep(2 * time.Hour) // The fifth client could have come back for an hour.
		if told, _ := l.take(); len(told) != 1 || told[0].header.Get("Webhook-Id") != "msg_C4fe42RHr3EB7_2I0FJBIA" {
			t.Errorf("an hour later told %v", tellings(told))
		}
		if names := d.Names(); len(names) > 0 {
			t.Errorf("afterwards there are %q", names)
		}
		p.exit()
	})
}
