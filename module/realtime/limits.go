package realtime

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// Limits bound what one client can take from the server, and what it can have
// sent to the others. The zero value of a field means its default.
type Limits struct {
	// Attachments is how many different binary parts one event or ack can have.
	// Default MaxAttachments, which is also the most: the parsers of Socket.IO's
	// clients refuse more.
	Attachments int
	// Arguments is how many arguments one event or ack can have. Default 1,000.
	// Node.js passes them to a listener on its stack, which ends at about 60,000.
	Arguments int
	// Depth is how deep arrays and objects can be nested in an argument; [] is
	// one deep, and a number none. Default 128. Recursive decoders fail at a
	// depth of their own: Python's at 1,000, PHP's at 512.
	Depth int
	// Namespaces is how many namespaces one session can be in at a time.
	// Default 100.
	Namespaces int
	// Rooms is how many rooms one socket can be in, besides its own. Default
	// 1,000.
	Rooms int
	// Acks is how many acks can be awaited from one socket at a time. Default
	// 1,000.
	Acks int
	// EventName is the length of the longest name of an event, in bytes.
	// Default 256.
	EventName int
	// Headers is how many bytes of a handshake's request can be kept: those of
	// the headers and values that the endpoint keeps, and of its URL. A request
	// with more is refused with 431. Default 16 KiB, which is what Node.js takes
	// in all.
	Headers int
	// Pending is how many connections of an endpoint can wait to be let in at a
	// time. Default 10,000.
	Pending int
}

// The defaults of Limits.
const (
	DefaultArguments  = 1000
	DefaultDepth      = 128
	DefaultNamespaces = 100
	DefaultRooms      = 1000
	DefaultAcks       = 1000
	DefaultEventName  = 256
	DefaultHeaders    = 16 << 10
	DefaultPending    = 10_000
)

// MaxRoomName is the length of the longest name of a room that a client or a backend
// can have a socket join, in bytes.
const MaxRoomName = 256

// WithDefaults returns a copy that has no zero values.
func (l Limits) WithDefaults() Limits {
	defaults.Set(&l.Attachments, MaxAttachments)
	defaults.Set(&l.Arguments, DefaultArguments)
	defaults.Set(&l.Depth, DefaultDepth)
	defaults.Set(&l.Namespaces, DefaultNamespaces)
	defaults.Set(&l.Rooms, DefaultRooms)
	defaults.Set(&l.Acks, DefaultAcks)
	defaults.Set(&l.EventName, DefaultEventName)
	defaults.Set(&l.Headers, DefaultHeaders)
	defaults.Set(&l.Pending, DefaultPending)
	return l
}

// A LimitError says which limit a client has exceeded. Protocols end its
// connection with the reason "limit".
type LimitError struct {
	Name string // as it is written in the configuration, such as "depth"
	Max  int64  // what is allowed
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s exceeded: at most %d", e.Name, e.Max)
}

// Check reports which limit an event or ack exceeds; event is "" for an ack. It
// reads an argument only where that could be nested too deep.
func (l *Limits) Check(event string, args []Arg) error {
	switch {
	case len(event) > l.EventName:
		return &LimitError{Name: "event_name", Max: int64(l.EventName)}
	case len(args) > l.Arguments:
		return &LimitError{Name: "arguments", Max: int64(l.Arguments)}
	}
	for _, arg := range args {
		if tooDeep(arg.JSON, l.Depth) {
			return &LimitError{Name: "depth", Max: int64(l.Depth)}
		}
	}
	return nil
}

// tooDeep reports whether JSON is nested deeper than depth. To count what opens is
// fast, and tells of nearly everything that it is not.
func tooDeep(data []byte, depth int) bool {
	if len(data) < 2*depth || bytes.Count(data, []byte{'['})+bytes.Count(data, []byte{'{'}) <= depth {
		return false
	}
	return errors.Is(rawjson.Check(data, depth), rawjson.ErrDepth)
}

// Widest returns limits that let through what any of several do.
func Widest(all ...Limits) Limits {
	var widest Limits
	for _, l := range all {
		l = l.WithDefaults()
		for _, field := range []struct{ wide, value *int }{
			{&widest.Attachments, &l.Attachments},
			{&widest.Arguments, &l.Arguments},
			{&widest.Depth, &l.Depth},
			{&widest.Namespaces, &l.Namespaces},
			{&widest.Rooms, &l.Rooms},
			{&widest.Acks, &l.Acks},
			{&widest.EventName, &l.EventName},
			{&widest.Headers, &l.Headers},
			{&widest.Pending, &l.Pending},
		} {
			*field.wide = max(*field.wide, *field.value)
		}
	}
	return widest.WithDefaults()
}
