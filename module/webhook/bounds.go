package webhook

import (
	"errors"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// check returns the error of an answer with more than the endpoint lets clients
// send, or be in: it would break those who get it.
func (a *answer) check(l realtime.Limits) error {
	if len(a.Join) > l.Rooms {
		return exceeds(&realtime.LimitError{Name: "rooms", Max: int64(l.Rooms)}).within("join")
	}
	if err := exceeds(l.Check("", a.Ack)); err != nil {
		return err.within("ack")
	}
	for i, e := range a.Emit {
		if err := exceeds(l.Check(e.Event, e.Args)); err != nil {
			return err.at(i).within("emit")
		}
	}
	return nil
}

// exceeds returns the error of what exceeds a limit; nil for nil.
func exceeds(err error) *wrongAnswer {
	if l, ok := errors.AsType[*realtime.LimitError](err); ok {
		return wrong("exceeds the endpoint's limits: %s is %d", l.Name, l.Max)
	}
	return nil
}
