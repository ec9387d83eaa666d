package realtime

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// Limits bound what one client can use of the server, and what it can have sent to other clients.
// The zero value of a field means its default.
type Limits struct {
	// Attachments is how many different binary parts one event or ack can have. Default and
	// maximum: MaxAttachments, since the parsers of Socket.IO's clients refuse more.
	Attachments int
	// Arguments is how many arguments one event or ack can have. Default: 1,000. Node.js passes
	// them to a listener on its stack, which has room for about 60,000.
	Arguments int
	// Depth is how deep arrays and objects can be nested in an argument: [] is one deep, a number
	// zero. Default: 128. Recursive decoders fail at a depth of their own: Python's at 1,000, PHP's
	// at 512.
	Depth int
	// Namespaces is how many namespaces one session can be connected to at a time. Default: 100.
	Namespaces int
	// Rooms is how many rooms one socket can be in, besides its own. Default: 1,000.
	Rooms int
	// Acks is how many acks can be awaited from one socket at a time. Default: 1,000.
	Acks int
	// EventName is how many bytes the name of an event can have. Default: 256.
	EventName int
	// Headers is how many bytes of a handshake's request can be kept: its URL, and the headers and
	// values that the endpoint keeps. A request with more is refused with 431. Default: 16 KiB,
	// which is also Node.js's limit for all headers.
	Headers int
	// Pending is how many connections of an endpoint can wait to be accepted at a time. Default:
	// 10,000.
	Pending int
}

// MaxRoomName is how many bytes the name of a room can have that a socket joins.
const MaxRoomName = 256

// WithDefaults returns a copy that has no zero values.
func (l Limits) WithDefaults() Limits {
	defaults.Set(&l.Attachments, MaxAttachments)
	defaults.Set(&l.Arguments, 1000)
	defaults.Set(&l.Depth, 128)
	defaults.Set(&l.Namespaces, 100)
	defaults.Set(&l.Rooms, 1000)
	defaults.Set(&l.Acks, 1000)
	defaults.Set(&l.EventName, 256)
	defaults.Set(&l.Headers, 16<<10)
	defaults.Set(&l.Pending, 10_000)
	return l
}

// A LimitError says which limit a client has exceeded. Protocols close its connection with the
// reason "limit".
type LimitError struct {
	Name string // as in the configuration, such as "depth"
	Max  int64  // the limit
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s exceeded: at most %d", e.Name, e.Max)
}

// Check returns a *LimitError if an event or ack exceeds a limit; event is "" for an ack. It parses
// an argument only if that might be nested too deep.
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

// tooDeep reports whether JSON is nested deeper than depth. Counting the opening brackets is fast,
// and rules out nearly all that is not.
func tooDeep(data []byte, depth int) bool {
	if len(data) < 2*depth || bytes.Count(data, []byte{'['})+bytes.Count(data, []byte{'{'}) <= depth {
		return false
	}
	return errors.Is(rawjson.Check(data, depth), rawjson.ErrDepth)
}

// Widest returns limits that allow whatever any of the given ones does.
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
