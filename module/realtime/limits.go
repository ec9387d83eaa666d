package realtime

import (
	"fmt"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
)

// Limits bound what one client can take from the server, and what it can have
// sent to the others. The zero value of a field means its default.
type Limits struct {
	// Attachments is how many different binary parts one event or ack can have.
	// Default MaxAttachments, which is also the most: the parsers of Socket.IO's
	// clients refuse more.
	Attachments int
	// Arguments is how many arguments one event or ack can have. Default 256.
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
	DefaultArguments  = 256
	DefaultDepth      = 128
	DefaultNamespaces = 100
	DefaultRooms      = 1000
	DefaultAcks       = 1000
	DefaultEventName  = 256
	DefaultHeaders    = 16 << 10
	DefaultPending    = 10_000
)

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
	Most int64  // what is allowed
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s exceeded: at most %d", e.Name, e.Most)
}
