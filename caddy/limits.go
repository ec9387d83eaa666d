package caddy

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Limits bound the resources that one client can use, and what it can send to others. All limits
// apply by default.
//
// The limits arguments, depth, event_name and rooms also apply to what backends answer and to what
// the API emits. A message that exceeds one of them is refused with an error that says so.
type Limits struct {
	// Payload is the size of the largest message, in bytes. A client that sends a larger one is
	// disconnected. Default 1000000.
	Payload int64 `json:"payload,omitempty"`
	// Queue is how many bytes may wait for one connection whose client does not read, the memory
	// for keeping them included. Default 1000000.
	//
	// More may wait for a while, since events come in bursts. The connection is closed, with the
	// reason "slow consumer", when its client has read nothing for 5s. It is also closed when more
	// than 16 times as much waits (32 times, within a quarter of a second of the last byte that the
	// client has read). A client over polling reads nothing between two requests, and may still be
	// reading the last answer. It therefore has as long as ping.timeout.
	//
	// All clients of a hub together may have a quarter of the memory waiting for them (of
	// GOMEMLIMIT, which Caddy sets, or of the machine), 256 MiB at least. An event that waits for
	// many clients counts once. If more waits, the connections whose clients have read nothing for
	// longest are closed.
	Queue int `json:"queue,omitempty"`
	// QueuePolicy is what happens to volatile events, which are better lost than late: "close" or
	// "drop_volatile". Default "close".
	//
	// "close" drops a volatile event that cannot leave at once. With "drop_volatile" it waits like
	// other events, and is dropped if the queue is full. Other events are never dropped: the
	// connection is closed instead.
	QueuePolicy string `json:"queue_policy,omitempty"`
	// Handshake is how long a Socket.IO client may take to enter its first namespace. Default 45s.
	Handshake caddy.Duration `json:"handshake,omitempty"`
	// Pending is how many connections of the endpoint may be in no namespace yet. One more gets the
	// status 503 with Retry-After. Default 10000, at most 10000000.
	Pending int `json:"pending,omitempty"`
	// Headers is how many bytes of a handshake's request are kept as long as the connection lasts.
	// These are its URL, the headers Cookie, Authorization and User-Agent, and the headers that
	// authenticators and handlers need. A request with more gets the status 431. Default 16384.
	Headers int64 `json:"headers,omitempty"`
	// Namespaces is how many namespaces one connection can be in at a time. Default 100, at most
	// 10000.
	Namespaces int `json:"namespaces,omitempty"`
	// Rooms is how many rooms one socket can be in. Default 1000, at most 1000000.
	Rooms int `json:"rooms,omitempty"`
	// Acks is how many acks can be awaited from one socket at a time. Default 1000, at most
	// 1000000.
	Acks int `json:"acks,omitempty"`
	// Arguments is how many arguments one event or ack can have. A client that sends more is
	// disconnected, since clients that run on Node.js crash at some 60,000. Default 1000, at most
	// 10000.
	Arguments int `json:"arguments,omitempty"`
	// Attachments is how many binary parts one event or ack can have. A client that sends more is
	// disconnected, since Socket.IO's own parsers accept no more than 10. Default 10, at most 10.
	Attachments int `json:"attachments,omitempty"`
	// Depth is how deep arrays and objects can be nested in one argument. A client that sends a
	// deeper one is disconnected, since the JSON decoders of backends and other clients fail at
	// some depth: PHP's at 512, Python's at 1000. Default 128, at most 1000.
	Depth int `json:"depth,omitempty"`
	// EventName is the largest length of an event's name, in bytes. A client that sends a longer
	// one is disconnected. Default 256.
	EventName int64 `json:"event_name,omitempty"`
}

// The values of Limits.QueuePolicy.
const (
	queueClose        = "close"
	queueDropVolatile = "drop_volatile"
)

func (l *Limits) queueVolatile() bool { return l.QueuePolicy == queueDropVolatile }

// count is a limit on a number of things, with the largest value that it can have.
type count struct {
	name  string
	value *int
	most  int
}

func (l *Limits) counts() []count {
	return []count{
		{"pending", &l.Pending, 10_000_000},
		{"namespaces", &l.Namespaces, 10_000},
		{"rooms", &l.Rooms, 1_000_000},
		{"acks", &l.Acks, 1_000_000},
		{"arguments", &l.Arguments, 10_000},
		{"attachments", &l.Attachments, realtime.MaxAttachments},
		{"depth", &l.Depth, 1000},
	}
}

func (l *Limits) validate() error {
	if l.Payload < 0 || l.Queue < 0 || l.Handshake < 0 || l.Headers < 0 || l.EventName < 0 {
		return errors.New("limits: values must be positive")
	}
	for name, size := range map[string]int64{"headers": l.Headers, "event_name": l.EventName} {
		if size > maxSize {
			return fmt.Errorf("limits: %s must be between 1 and %d bytes", name, maxSize)
		}
	}
	if l.QueuePolicy != "" && l.QueuePolicy != queueClose && l.QueuePolicy != queueDropVolatile {
		return fmt.Errorf("limits: queue_policy %q is unknown; it is %s or %s",
			l.QueuePolicy, queueClose, queueDropVolatile)
	}
	for _, c := range l.counts() {
		if *c.value < 0 || *c.value > c.most {
			return fmt.Errorf("limits: %s must be between 1 and %d", c.name, c.most)
		}
	}
	return nil
}

// bounds returns the limits as the protocols and the hub need them, with defaults.
func (l *Limits) bounds() realtime.Limits {
	return realtime.Limits{
		Attachments: l.Attachments,
		Arguments:   l.Arguments,
		Depth:       l.Depth,
		Namespaces:  l.Namespaces,
		Rooms:       l.Rooms,
		Acks:        l.Acks,
		EventName:   int(l.EventName),
		Headers:     int(l.Headers),
		Pending:     l.Pending,
	}.WithDefaults()
}
