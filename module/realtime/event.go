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

	// Ack answers the client, who gets the first answer only. It is nil where
	// the client awaits none.
	Ack func(...Arg) error
}

// reserved are the names that mean something to Socket.IO itself and therefore
// cannot be those of events.
var reserved = map[string]bool{
	"connect": true, "connect_error": true, "disconnect": true,
	"disconnecting": true, "newListener": true, "removeListener": true,
}

// Reserved reports whether an event cannot have this name.
func Reserved(event string) bool { return reserved[event] }

// HandleEvent takes an event from the socket's protocol, which calls it for one
// event at a time, in order. ack may be nil.
func (s *Socket) HandleEvent(ctx context.Context, name string, args []Arg, ack func(...Arg) error) {
	policy, release := s.endpoint.acquire()
	defer release()
	e := &Event{Socket: s, Name: name, Args: args}
	if ack != nil {
		var once sync.Once
		e.Ack = func(args ...Arg) (err error) {
			if err := checkAttachments(args); err != nil {
				return err
			}
			once.Do(func() { err = ack(args...) })
			return err
		}
	}
	for _, handler := range policy.Handlers {
		handled, err := policy.callEvent(ctx, handler, e)
		if err != nil {
			s.reject(e, err, policy.logger())
			return
		}
		if handled {
			return
		}
	}
	s.reject(e, &Error{Code: "unhandled_event", Message: "nothing handles an event of this name here"}, policy.logger())
}

// reject tells the client why its event failed, if it asked.
func (s *Socket) reject(e *Event, err error, logger *zap.Logger) {
	problem, ok := errors.AsType[*Error](err)
	if !ok {
		// What went wrong inside is for the operator, not for the client.
		if _, logged := errors.AsType[*panicError](err); !logged {
			logger.Error("handling event", zap.String("socket", s.id), zap.String("event", e.Name), zap.Error(err))
		}
		problem = &Error{Code: "internal", Message: "the event could not be handled"}
	}
	if e.Ack == nil {
		return
	}
	if arg, err := JSON(map[string]*Error{"error": problem}); err == nil {
		_ = e.Ack(arg) // a session that cannot be written to has ended
	}
}
