package webhook

import (
	"errors"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// check returns an error if the answer exceeds the limits that hold for clients: clients
// that get such an event could not handle it.
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

// exceeds returns the answer's error for a *realtime.LimitError; nil for nil.
func exceeds(err error) *wrongAnswer {
	if l, ok := errors.AsType[*realtime.LimitError](err); ok {
		return wrong("exceeds the endpoint's limits: %s is %d", l.Name, l.Max)
	}
	return nil
}
