package webhook

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// hold takes slots until there is none, and returns how many it got.
func hold(t *testing.T, s *slots, c class, name string) (n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for s.take(ctx, c, name) == nil {
		n++
	}
	return n
}

// TestSlotsAreKept: however many requests of one class, or of one event, are in
// flight, there is room for those of another one.
func TestSlotsAreKept(t *testing.T) {
	for _, total := range []int{4, 5, 16, 64, 256} {
		s := newSlots(total)
		least := total / 4
		slow := hold(t, s, events, "slow")
		if slow < total/2 || slow > total-least {
			t.Errorf("of %d slots one event has %d", total, slow)
		}
		if n := hold(t, s, connects, ""); n < least {
			t.Errorf("of %d slots %d are left to connects beside a slow event", total, n)
		}
		s = newSlots(total)
		if n := hold(t, s, connects, ""); n < total/2 || n > total-least {
			t.Errorf("of %d slots connects have %d", total, n)
		}
		if n := hold(t, s, events, "a"); n < 1 {
			t.Errorf("of %d slots none is left to events beside connects", total)
		}
		s = newSlots(total)
		if n := hold(t, s, disconnects, ""); n < 1 || n >= total || n > max(1, total/8) {
			t.Errorf("of %d slots disconnects have %d", total, n)
		}
	}
	s := newSlots(256)
	for i := range 3 {
		if n := hold(t, s, events, fmt.Sprint("slow ", i)); n < 1 {
			t.Errorf("slow event %d has no slot", i)
		}
	}
	for total := 1; total <= 8; total++ { // and whoever is alone gets one
		for c := range classes {
			if n := hold(t, newSlots(total), c, "x"); n < 1 {
				t.Errorf("of %d slots class %d has none", total, c)
			}
		}
	}
}

// TestSlotsTakeTurns: those who wait get slots by class, and by name, whoever has
// waited for longer, and all that were taken come back.
func TestSlotsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		if err := s.take(t.Context(), events, "busy"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		var done sync.WaitGroup
		wait := func(c class, name string) {
			done.Go(func() {
				if err := s.take(t.Context(), c, name); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				time.Sleep(time.Second)
				s.give(c, name)
			})
			synctest.Wait()
		}
		for range 4 {
			wait(events, "busy")
		}
		wait(events, "rare")
		wait(connects, "connect")
		wait(disconnects, "disconnect")
		s.give(events, "busy")
		done.Wait()
		// Within three turns each class has had one, and then each name.
		first := strings.Join(order[:3], " ")
		for _, name := range []string{"connect", "disconnect", "busy"} {
			if !strings.Contains(first, name) {
				t.Errorf("the first turns were %s", first)
			}
		}
		if order[3] != "rare" {
			t.Errorf("the turns were %s", strings.Join(order, " "))
		}
		if s.free != 1 || s.used != [classes]int{} || len(s.names) > 0 {
			t.Errorf("left are %d free, %v used, %v", s.free, s.used, s.names)
		}
		for c := range classes {
			if q := s.queues[c]; len(q.names)+len(q.queues) > 0 {
				t.Errorf("class %d still has %q waiting", c, q.names)
			}
		}
	})
}

// TestSlotsGivenUp: who does not wait any more leaves nothing.
func TestSlotsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		if err := s.take(t.Context(), events, "busy"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var done sync.WaitGroup
		for i := range 10 {
			done.Go(func() {
				if s.take(ctx, events, strconv.Itoa(i%3)) == nil {
					t.Error("there was a slot")
				}
			})
		}
		done.Wait()
		s.give(events, "busy")
		if q := s.queues[events]; s.free != 1 || len(q.names)+len(q.queues) > 0 {
			t.Errorf("left are %d free, %q waiting", s.free, q.names)
		}
	})
}

// TestSlowRequestsStarveNobody: 600 clients whom the backend refuses slowly do not
// delay an event, nor do slow events delay others or connects.
func TestSlowRequestsStarveNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := make(map[string]bool) // by type or event
		w := newWorld(t, Options{URL: "http://backend/realtime", Transport: byApplication(func(m *message) (int, string) {
			switch {
			case slow[m.Type], slow[m.Data.Event]:
				time.Sleep(2 * time.Second)
				return 401, ""
			case m.Type == typeEvent:
				return 200, `{"ack":[1]}`
			}
			return 204, ""
		})})
		c := w.connect()
		quick := func(what string, do func()) {
			t.Helper()
			began := time.Now()
			do()
			if took := time.Since(began); took > 0 {
				t.Errorf("beside %s it took %v", what, took)
			}
		}
		slow[typeConnect] = true
		var refused sync.WaitGroup
		for range 600 {
			refused.Go(func() {
				if _, err := w.hub.Namespace("/").Connect(t.Context(), w.handshake(), new(client)); err == nil {
					t.Error("a client is let in")
				}
			})
		}
		synctest.Wait()
		quick("slow connects an event", func() { c.ask(t, "fast") })
		refused.Wait()
		slow[typeConnect], slow["slow"] = false, true
		var clients []*client
		for range 300 {
			clients = append(clients, w.connect())
		}
		var asked sync.WaitGroup
		for _, c := range clients {
			asked.Go(func() { c.ask(t, "slow", realtime.String("x")) })
		}
		synctest.Wait()
		quick("slow events another one", func() { c.ask(t, "fast") })
		quick("slow events a connect", func() { w.connect() })
		asked.Wait()
	})
}
