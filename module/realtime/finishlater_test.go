package realtime_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// An openHandler has events called "open" last until a test finishes them.
type openHandler struct {
	slow
	events chan *realtime.Event
}

func (h *openHandler) HandleEvent(ctx context.Context, e *realtime.Event) (bool, error) {
	if e.Name != "open" {
		return h.slow.HandleEvent(ctx, e)
	}
	h.note("%d begins", e.Seq)
	if !e.FinishLater() {
		return false, errors.New("the hub is closed")
	}
	h.events <- e
	return true, nil
}

func (h *openHandler) finish() {
	e := <-h.events
	e.Finish(func(context.Context) error {
		h.note("%d ends", e.Seq)
		return nil
	})
	synctest.Wait()
}

// An event lasts until it is finished: the socket's next event waits for that, those of others do
// not, and its settings stay in use.
func TestFinishLaterKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &openHandler{events: make(chan *realtime.Event, 10)}
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
		m, other := join(t, e), join(t, e)
		for _, name := range []string{"open", "open", "quick", "slow", "open"} {
			m.HandleEvent(t.Context(), name, nil, nil)
		}
		other.HandleEvent(t.Context(), "other", nil, nil)
		synctest.Wait()
		equal(t, "notes", h.taken(), []string{"1 begins", "1 other"})
		if !m.Busy() || other.Busy() || e.policiesInUse() == 0 {
			t.Error("the event does not last")
		}
		h.finish()
		h.finish()
		time.Sleep(2 * time.Second)
		m.HandleDisconnect("transport close")
		equal(t, "notes", h.taken(), []string{
			"1 begins", "1 other", "1 ends", "2 begins", "2 ends", "3 quick", "4 begins", "4 ends", "5 begins",
		})
		h.finish()
		equal(t, "last notes", h.taken()[9:], []string{"5 ends", "transport close"})
		if m.Busy() || e.policiesInUse() != 0 {
			t.Errorf("the socket is busy: %v; policies in use: %d", m.Busy(), e.policiesInUse())
		}
	})
}

// An event may be finished before its handler has returned, also one that has waited.
func TestFinishBeforeReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{})
		var handled atomic.Int32
		h := guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			if e.FinishLater() {
				e.Finish(func(context.Context) error { return e.Ack() })
			}
			<-begun
			handled.Add(1)
			return true, nil
		}}
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
		m := join(t, e)
		acks := 0
		ack := func(*realtime.Batch, ...realtime.Arg) error {
			acks++
			return nil
		}
		go m.HandleEvent(t.Context(), "first", nil, ack)
		synctest.Wait()
		m.HandleEvent(t.Context(), "second", nil, ack)
		if !m.Busy() || acks != 1 {
			t.Errorf("busy: %v, acks: %d", m.Busy(), acks)
		}
		close(begun)
		synctest.Wait()
		if m.Busy() || e.policiesInUse() != 0 || handled.Load() != 2 || acks != 2 {
			t.Errorf("busy: %v, in use: %d, handled: %d, acks: %d", m.Busy(), e.policiesInUse(), handled.Load(), acks)
		}
	})
}

// What fails is told once: in the handler, after it has called FinishLater, or in rest.
func TestFinishFails(t *testing.T) {
	const internal = `{"error":{"code":"internal","message":"the event could not be handled"}}`
	broken := errors.New("secret")
	for _, test := range []struct {
		name           string
		handler, rest  func() error
		want           string
		finishedByRest bool
	}{
		{"rest fails", func() error { return nil }, func() error { return broken }, internal, true},
		{"rest panics", func() error { return nil }, func() error { panic("secret") }, internal, true},
		{"handler fails", func() error { return &realtime.Error{Code: "c", Message: "m"} }, func() error { return broken }, `{"error":{"code":"c","message":"m"}}`, false},
		{"handler panics", func() error { panic("secret") }, func() error { return nil }, internal, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var event *realtime.Event
				h := guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
					e.FinishLater()
					event = e
					return true, test.handler()
				}}
				e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
				m := join(t, e)
				var answers []string
				m.HandleEvent(t.Context(), "greet", nil, func(_ *realtime.Batch, args ...realtime.Arg) error {
					answers = append(answers, string(args[0].JSON))
					return nil
				})
				if m.Busy() != test.finishedByRest {
					t.Errorf("before Finish, the socket is busy: %v", m.Busy())
				}
				event.Finish(func(context.Context) error { return test.rest() })
				equal(t, "answers", answers, []string{test.want})
				if m.Busy() || e.policiesInUse() != 0 {
					t.Errorf("the socket is busy: %v; policies in use: %d", m.Busy(), e.policiesInUse())
				}
			})
		})
	}
}

// Resume runs what takes longer on another goroutine.
func TestResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &openHandler{events: make(chan *realtime.Event, 10)}
		e := open(hub(t, realtime.Options{}), realtime.Policy{Handlers: []realtime.Handler{h}})
		m := join(t, e)
		m.HandleEvent(t.Context(), "open", nil, nil)
		m.HandleEvent(t.Context(), "quick", nil, nil)
		(<-h.events).Resume(func(context.Context) error {
			time.Sleep(time.Second)
			h.note("1 ends")
			return nil
		})
		equal(t, "notes", h.taken(), []string{"1 begins"})
		time.Sleep(2 * time.Second)
		equal(t, "notes", h.taken(), []string{"1 begins", "1 ends", "2 quick"})
	})
}

// Close waits for events that have not been finished, and none comes after that.
func TestCloseWaitsForOpenEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub(t, realtime.Options{})
		handler := &openHandler{events: make(chan *realtime.Event, 10)}
		e := open(h, realtime.Policy{Handlers: []realtime.Handler{handler}})
		m, other := join(t, e), join(t, e)
		m.HandleEvent(t.Context(), "open", nil, nil)
		begin := time.Now()
		context.AfterFunc(h.Context(), func() {
			time.Sleep(time.Second)
			(<-handler.events).Finish(func(context.Context) error { return nil })
		})
		if err := h.Close(); err != nil || time.Since(begin) != time.Second {
			t.Errorf("Close returned %v after %v", err, time.Since(begin))
		}
		other.HandleEvent(t.Context(), "open", nil, nil)
		if len(handler.events) > 0 {
			t.Error("an event may be finished after Close")
		}
	})
}
