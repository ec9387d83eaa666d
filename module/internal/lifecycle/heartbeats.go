package lifecycle

import (
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/timequeue"
)

// Heartbeats has the connections of one server, by when each one's heartbeat has something to do.
// All share one timer: one for each would take more memory than the rest of a heartbeat. The zero
// value is ready.
type Heartbeats struct {
	mu    sync.Mutex // taken after the lock of a connection
	queue timequeue.Queue[*Connection]
	timer *time.Timer // nil: nothing was ever due
	fires time.Time   // when the timer does, or began to; zero: it does not run
}

// set has a connection's beat called at a time, and not at the one that was set before.
func (h *Heartbeats) set(c *Connection, due time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.next.Value = c
	h.queue.Put(&c.next, due)
	h.arm()
}

// remove takes a connection out. A call of beat may be on its way.
func (h *Heartbeats) remove(c *Connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue.Remove(&c.next)
	if h.queue.Len() == 0 && h.timer != nil && h.timer.Stop() {
		h.fires = time.Time{}
	}
}

// arm has the timer fire in time for the first connection. It may fire too early.
func (h *Heartbeats) arm() {
	first := h.queue.First()
	if first == nil || !h.fires.IsZero() && !first.Due.Before(h.fires) {
		return
	}
	h.fires = first.Due
	wait := time.Until(first.Due)
	if h.timer == nil {
		h.timer = time.AfterFunc(wait, h.fire)
	} else {
		h.timer.Reset(wait)
	}
}

// fire is called by the timer. What it calls does not block.
func (h *Heartbeats) fire() {
	now := time.Now()
	for c := h.due(now); c != nil; c = h.due(now) {
		c.beat()
	}
}

// due returns a connection whose beat must be called now. If it returns nil, it has set the timer
// for the next one.
func (h *Heartbeats) due(now time.Time) *Connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first := h.queue.First(); first != nil && !first.Due.After(now) {
		return first.Value // which beat sets to a later time, or removes
	}
	h.fires = time.Time{}
	h.arm()
	return nil
}
