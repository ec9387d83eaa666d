package webhook

import (
	"context"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A pendingEvent is an event whose message is part of a batch, or waits for one. No goroutine waits
// for its answer: the one that reads the batch's answer does what follows from it.
type pendingEvent struct {
	batched
	batches *batches
	event   *realtime.Event
	message request
	ends    *deadline

	next, previous *pendingEvent // with the same deadline, whose deadlines guard them
}

// handle has an event gather. It reports false if a goroutine of the event's own must handle it: it
// has to wait for a slot, or a pause to end, or it is quiet.
func (b *batches) handle(e *realtime.Event) bool {
	h := b.handler
	if h.pause.left() > 0 || b.isQuiet(siteOf(e.Socket.Peer())) || !h.slots.tryTake(events, e.Name) {
		return false
	}
	if !e.FinishLater() {
		h.slots.give(events, e.Name)
		return false
	}
	p := &pendingEvent{batches: b, event: e, message: newEvent(e)}
	p.batched = batched{request: &p.message, attempt: 1, asker: p}
	h.events.beginPending(e.Socket.Namespace().Hub().Context(), p)
	b.gather(&p.batched)
	return true
}

// isQuiet reports whether a message about a client of a site would be sent at once.
func (b *batches) isQuiet(s site) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.sites[s]
	return g == nil || g.arrived() && len(g.waiting) == 0
}

// gather has a message wait, even if it could be sent at once. Its time may be over already.
func (b *batches) gather(m *batched) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.gone {
		return
	}
	m.gathering = b.at(siteOf(m.request.peer))
	b.enterLocked(m)
}

// take implements asker.
func (p *pendingEvent) take(o outcome) {
	h := p.batches.handler
	h.slots.give(events, p.event.Name)
	if o.err != nil && h.again(o.err) {
		p.event.Resume(func(ctx context.Context) error {
			defer h.events.endPending(p)
			reply, err := h.askAgain(p.ends, p.request, o.err)
			defer reply.release()
			return h.conclude(ctx, p.event, reply, err)
		})
		return
	}
	h.events.endPending(p)
	p.event.Finish(func(ctx context.Context) error { return h.conclude(ctx, p.event, o.reply, o.err) })
	o.reply.release()
}

// expire ends the wait for an answer.
func (p *pendingEvent) expire(cause error) {
	if o, left := p.batches.leave(&p.batched, cause); left {
		p.take(o)
	}
}
