package realtime

import (
	"context"
	"errors"
	"sync"

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

	batch *Batch // that the ack belongs to
	later func(context.Context) error
}

// HoldIn has the ack belong to a batch. Without it, it belongs to that of the input, which has
// been closed once the handler has waited. It is called before Ack.
func (e *Event) HoldIn(batch *Batch) { e.batch = batch }

// Later has rest run when HandleEvent has returned: off the goroutine that reads from the client,
// and before anything of the socket's next event. A handler that has to wait calls Later and
// reports the event as handled. An error of rest counts as the handler's. The handler's settings
// stay in use until rest returns.
func (e *Event) Later(rest func(ctx context.Context) error) { e.later = rest }

// reserved are the names that Socket.IO uses itself, which events cannot have.
var reserved = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true,
	"disconnecting": true, "newListener": true, "removeListener": true,
}

// Reserved reports whether events cannot have this name.
func Reserved(event string) bool { return reserved[event] }

// HandleEvent takes an event from the socket's protocol, which calls it for one event at a time, in
// order. Ack may be nil; what it sends belongs to the batch that it gets. It returns when the event has been handled or is queued; if too many are
// queued, it waits for space. An event that comes after the handlers have learnt of the disconnect
// is dropped.
func (s *Socket) HandleEvent(ctx context.Context, name string, args []Arg, ack func(in *Batch, args ...Arg) error) {
	e := &Event{Socket: s, Name: name, Args: args, Seq: s.events.Add(1), batch: batchOf(ctx)}
	if ack != nil {
		e.Ack = e.firstAck(ack)
	}
	workers := s.namespace.hub.workers
	policy, release := s.endpoint.acquire()
	if !s.queue.acquire() {
		Flush(ctx)
		s.queue.waitForSpace(ctx)
		e.Args = compact(e.Args)
		s.queue.add(workers, task{size: taskSize + len(e.Name) + sizeOf(e.Args), run: func() {
			defer release()
			if s.ended {
				return
			}
			policy.handle(s.namespace.hub.Context(), e)
			policy.finish(s.namespace.hub.Context(), e)
		}})
		return
	}
	if !s.ended {
		policy.handle(ctx, e)
	}
	if e.later == nil {
		release()
		s.queue.release(workers, nil)
		return
	}
	s.queue.release(workers, func() {
		defer release()
		policy.finish(s.namespace.hub.Context(), e)
	})
}

// firstAck passes on the first answer only. If that is not valid, the client, which is waiting,
// gets an error instead.
func (e *Event) firstAck(ack func(*Batch, ...Arg) error) func(...Arg) error {
	var once sync.Once
	return func(args ...Arg) (err error) {
		refused := e.Socket.namespace.hub.limits.Load().Check("", args)
		if refused == nil {
			refused = checkAttachments(args)
		}
		once.Do(func() {
			if refused != nil {
				args = errorArgs(&Error{Code: "bad_ack", Message: "the answer cannot be sent"})
			}
			err = ack(e.batch, args...)
		})
		return errors.Join(refused, err)
	}
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
		if err != nil {
			e.later = nil
			p.reject(e, err)
			return
		}
		if handled {
			return
		}
		e.later = nil
	}
	p.reject(e, &Error{Code: "unhandled_event", Message: "nothing handles an event of this name here"})
}

// finish runs what a handler has passed to Later.
func (p *Policy) finish(ctx context.Context, e *Event) {
	if e.later == nil {
		return
	}
	if err := p.callLater(ctx, e); err != nil {
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
