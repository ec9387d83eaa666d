package realtime

import (
	"context"
	"errors"
	"sync/atomic"

	"go.uber.org/zap"
)

// An Event is what a client sent.
type Event struct {
	Socket *Socket
	Name   string
	Args   []Arg

	// Seq numbers the events of a socket, from 1.
	Seq uint64

	// Ack answers the client. Only the first call does. It is nil if the client awaits no ack.
	Ack func(...Arg) error

	batch    *Batch // that the ack belongs to
	answerer Answerer
	answered atomic.Bool
	input    batchContext // what handlers get, if the event came by HandleEventIn

	policy  *Policy
	release func() // of the policy
	later   func(context.Context) error
	open    bool         // FinishLater has been called
	ends    atomic.Int32 // of an open event: 2 once the handler has returned and Finish has
}

// An Answerer sends a client the answer to its event.
type Answerer interface {
	// Answer sends an ack. It is called once at most. The batch, which may be nil, may hold the
	// ack back.
	Answer(in *Batch, args ...Arg) error
}

type answerFunc func(in *Batch, args ...Arg) error

func (f answerFunc) Answer(in *Batch, args ...Arg) error { return f(in, args...) }

// HoldIn has the ack belong to a batch. Without it, it belongs to that of the input, which has
// been closed once the handler has waited. It is called before Ack.
func (e *Event) HoldIn(batch *Batch) { e.batch = batch }

// Later has rest run when HandleEvent has returned: off the goroutine that reads from the client,
// and before anything of the socket's next event. A handler that has to wait calls Later and
// reports the event as handled. An error of rest counts as the handler's. The handler's settings
// stay in use until rest returns.
func (e *Event) Later(rest func(ctx context.Context) error) { e.later = rest }

// FinishLater has the event go on when HandleEvent has returned, without a goroutine that waits for
// it: until somebody calls Finish or Resume, which must happen once, and may happen before
// HandleEvent returns. The handler reports the event as handled. Until the event is finished, it is
// in no other way different from one of Later. FinishLater reports false if the hub has been closed:
// then the handler uses Later.
func (e *Event) FinishLater() bool {
	e.open = e.Socket.namespace.hub.workers.use()
	return e.open
}

// Finish runs rest, as Later does, but at once, and finishes the event. Rest must not wait for
// anything.
func (e *Event) Finish(rest func(ctx context.Context) error) {
	workers := e.Socket.namespace.hub.workers
	defer workers.workers.Done()
	if err := e.policy.callRest(e.Socket.namespace.hub.Context(), rest); err != nil {
		e.policy.reject(e, err)
	}
	if e.ends.Add(1) == 2 {
		e.release()
		e.Socket.queue.release(workers, nil)
	}
}

// Resume has Finish called with rest on a goroutine of the hub's. Rest may wait.
func (e *Event) Resume(rest func(ctx context.Context) error) {
	e.Socket.namespace.hub.workers.run(func() { e.Finish(rest) })
}

// reserved are the names that Socket.IO uses itself, which events cannot have.
var reserved = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true,
	"disconnecting": true, "newListener": true, "removeListener": true,
}

// Reserved reports whether events cannot have this name.
func Reserved(event string) bool { return reserved[event] }

// HandleEvent takes an event from the socket's protocol, which calls it for one event at a time, in
// order. Ack may be nil; what it sends belongs to the batch that it gets. It returns when the event
// has been handled or is queued; if too many are queued, it waits for space. An event that comes
// after the handlers have learnt of the disconnect is dropped.
func (s *Socket) HandleEvent(ctx context.Context, name string, args []Arg, ack func(in *Batch, args ...Arg) error) {
	e := &Event{Name: name, Args: args, batch: batchOf(ctx)}
	if ack != nil {
		e.answerer = answerFunc(ack)
	}
	s.handleEvent(ctx, e)
}

// HandleEventIn is HandleEvent for a protocol that has made the event, as a part of what it keeps
// for the event anyway. It has set the event's Name and Args only, and uses neither the event nor
// Args any more. The handlers' context is the hub's, with the batch. The batch and ack may be nil.
func (s *Socket) HandleEventIn(batch *Batch, e *Event, ack Answerer) {
	e.batch, e.answerer = batch, ack
	e.input = batchContext{s.namespace.hub.Context(), batch}
	s.handleEvent(&e.input, e)
}

func (s *Socket) handleEvent(ctx context.Context, e *Event) {
	e.Socket, e.Seq = s, s.events.Add(1)
	if e.answerer != nil {
		e.Ack = e.answer
	}
	workers := s.namespace.hub.workers
	e.policy, e.release = s.endpoint.acquire()
	if !s.queue.acquire() {
		Flush(ctx)
		s.queue.waitForSpace(ctx)
		e.keepArgs()
		s.queue.add(workers, task{size: taskSize + len(e.Name) + sizeOf(e.Args), run: e.runQueued})
		return
	}
	if !s.ended {
		e.policy.handle(ctx, e)
	}
	switch {
	case e.later != nil:
		s.queue.release(workers, func() {
			defer e.release()
			e.policy.finish(s.namespace.hub.Context(), e)
		})
	case e.handlerDone():
		e.release()
		s.queue.release(workers, nil)
	}
}

// runQueued handles an event that has waited in the queue. It reports false if the event goes on.
func (e *Event) runQueued() (ended bool) {
	if s := e.Socket; !s.ended {
		e.policy.handle(s.namespace.hub.Context(), e)
		e.policy.finish(s.namespace.hub.Context(), e)
	}
	if ended = e.handlerDone(); ended {
		e.release()
	}
	return ended
}

// handlerDone notes that the handlers have returned. It reports whether nobody else ends the event.
func (e *Event) handlerDone() bool { return !e.open || e.ends.Add(1) == 2 }

// keepArgs makes the arguments a copy.
func (e *Event) keepArgs() {
	args := e.Args
	e.Args = compact(args)
	if e.input.Context != nil {
		clear(args) // they may be a part of what holds the event
	}
}

// answer passes on the first answer only. If that is not valid, the client, which is waiting, gets
// an error instead.
func (e *Event) answer(args ...Arg) (err error) {
	refused := e.Socket.namespace.hub.limits.Load().Check("", args)
	if refused == nil {
		refused = checkAttachments(args)
	}
	if e.answered.CompareAndSwap(false, true) {
		if refused != nil {
			args = errorArgs(&Error{Code: "bad_ack", Message: "the answer cannot be sent"})
		}
		err = e.answerer.Answer(e.batch, args...)
	}
	return errors.Join(refused, err)
}

// errorArgs returns the arguments of an ack that reports an error.
func errorArgs(problem *Error) []Arg {
	arg, err := JSON(map[string]*Error{"error": problem})
	if err != nil {
		panic(err) // cannot happen: two strings
	}
	return []Arg{arg}
}

// handle asks the handlers, until one handles the event.
func (p *Policy) handle(ctx context.Context, e *Event) {
	for _, handler := range p.Handlers {
		handled, err := p.callEvent(ctx, handler, e)
		if err == nil && handled {
			return
		}
		e.later, e.open = nil, false
		if err != nil {
			p.reject(e, err)
			return
		}
	}
	p.reject(e, &Error{Code: "unhandled_event", Message: "nothing handles an event of this name here"})
}

// finish runs what a handler has passed to Later.
func (p *Policy) finish(ctx context.Context, e *Event) {
	if e.later == nil {
		return
	}
	if err := p.callRest(ctx, e.later); err != nil {
		p.reject(e, err)
	}
}

// reject tells the client why its event failed, if it awaits an ack.
func (p *Policy) reject(e *Event, err error) {
	problem, ok := errors.AsType[*Error](err)
	if !ok {
		// Internal errors are for the operator, not for the client.
		if _, logged := errors.AsType[*panicError](err); !logged {
			p.logger().Error("handling event",
				zap.String("socket", e.Socket.id), zap.String("event", e.Name), zap.Error(err))
		}
		problem = &Error{Code: "internal", Message: "the event could not be handled"}
	}
	if e.Ack == nil {
		return
	}
	_ = e.Ack(errorArgs(problem)...) // an error means that the session has ended
}
