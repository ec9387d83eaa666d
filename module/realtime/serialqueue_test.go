package realtime_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A slow handler takes a second of virtual time for each event "slow", by Later, and none for others.
// It notes what it does.
type slow struct {
	guest
	mu    sync.Mutex
	notes []string
}

func (h *slow) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes = append(h.notes, fmt.Sprintf(format, args...))
}

func (h *slow) HandleEvent(_ context.Context, e *realtime.Event) (bool, error) {
	if e.Name != "slow" {
		h.note("%d %s", e.Seq, e.Name)
		return true, nil
	}
	h.note("%d begins", e.Seq)
	e.Later(func(context.Context) error {
		time.Sleep(time.Second)
		h.note("%d ends", e.Seq)
		return nil
	})
	return true, nil
}

func (h *slow) HandleDisconnect(_ context.Context, _ *realtime.Socket, why string) {
	h.note("%s", why)
}

func (h *slow) taken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.notes)
}

// Events are handled one at a time and in order, whether their handlers use Later or not.
func TestLaterKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(slow)
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
		m, other := join(t, e), join(t, e)
		for _, name := range []string{"quick", "slow", "quick", "slow", "quick"} {
			m.HandleEvent(t.Context(), name, nil, nil)
		}
		other.HandleEvent(t.Context(), "other", nil, nil) // does not wait for them
		m.HandleDisconnect("transport close")
		if e.policiesInUse() == 0 {
			t.Error("the policy may be cleaned up while it is still used")
		}
		time.Sleep(5 * time.Second)
		equal(t, "notes", h.taken(), []string{
			"1 quick", "2 begins", "1 other", "2 ends", "3 quick", "4 begins", "4 ends", "5 quick", "transport close",
		})
		if e.policiesInUse() != 0 {
			t.Errorf("the policy is still in use: %d", e.policiesInUse())
		}
	})
}

// An event is handled under the settings of the time when it came.
func TestLaterKeepsSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := new(slow), new(slow)
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{before}})
		m := join(t, e)
		m.HandleEvent(t.Context(), "slow", nil, nil)
		e.set(realtime.Policy{Handlers: []realtime.Handler{after}})
		m.HandleEvent(t.Context(), "quick", nil, nil)
		time.Sleep(time.Minute)
		equal(t, "before", before.taken(), []string{"1 begins", "1 ends"})
		equal(t, "after", after.taken(), []string{"2 quick"})
	})
}

// A client that sends faster than its events are handled is slowed down.
func TestLaterLimitsQueue(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
		want time.Duration // until 150 events are taken
	}{
		{"many", 0, 50 * time.Second},
		{"large", 40_000, 148 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := new(slow)
			e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
			m := join(t, e)
			start := time.Now()
			for range 150 {
				m.HandleEvent(t.Context(), "slow", []realtime.Arg{realtime.String(strings.Repeat("x", test.size))}, nil)
			}
			if took := time.Since(start).Round(time.Second); took < test.want-2*time.Second || took > test.want+2*time.Second {
				t.Errorf("%s: 150 events were taken in %v", test.name, took)
			}
			time.Sleep(3 * time.Minute)
			if n := len(h.taken()); n != 300 {
				t.Errorf("%s: there are %d notes", test.name, n)
			}
		})
	}
}

func TestLaterFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			rest func(context.Context) error
			want string
		}{
			{func(context.Context) error { return &realtime.Error{Code: "c", Message: "m"} }, `{"error":{"code":"c","message":"m"}}`},
			{func(context.Context) error { return errors.New("secret") }, `{"error":{"code":"internal","message":"the event could not be handled"}}`},
			{func(context.Context) error { panic("secret") }, `{"error":{"code":"internal","message":"the event could not be handled"}}`},
		} {
			h := guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
				e.Later(test.rest)
				return true, nil
			}}
			e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
			answers := make(chan string, 1)
			join(t, e).HandleEvent(t.Context(), "greet", nil, func(_ *realtime.Batch, args ...realtime.Arg) error {
				answers <- string(args[0].JSON)
				return nil
			})
			if got := <-answers; got != test.want {
				t.Errorf("the client is told %s", got)
			}
			synctest.Wait()
			if e.policiesInUse() != 0 {
				t.Errorf("the policy is still in use: %d", e.policiesInUse())
			}
		}
	})
}

// A handler may disconnect its own socket. The other handlers first learn of all that came before.
func TestDisconnectInHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var diary []string
		first := guest{
			connect: func(s *realtime.Socket) { _ = s.Disconnect(false) },
		}
		second := guest{
			connect:    func(*realtime.Socket) { diary = append(diary, "connect") },
			disconnect: func(_ *realtime.Socket, why string) { diary = append(diary, why) },
		}
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{first, second}})
		join(t, e)
		synctest.Wait()
		equal(t, "notes", diary, []string{"connect", "server namespace disconnect"})
	})
}
