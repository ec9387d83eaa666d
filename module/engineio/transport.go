package engineio

import (
	"slices"
	"time"
)

// The values of the query parameter "transport".
const (
	pollingName   = "polling"
	webSocketName = "websocket"
)

// transportNames are the names of all transports.
var transportNames = []string{pollingName, webSocketName}

// IsTransport reports whether a name is that of a transport.
func IsTransport(name string) bool { return slices.Contains(transportNames, name) }

// A transport carries a session's packets. Its methods are called with the session locked,
// and never block.
type transport interface {
	name() string

	// send sends a packet group or queues it. An open batch may hold it back until the
	// batch ends; the batch may be nil. The error outbox.ErrFull means that the queue is
	// full, any other that the transport is broken.
	send(g *PacketGroup, batch *Batch) error

	// fits reports whether all of the groups can be queued now. A single one may be sent
	// even if it does not fit.
	fits(groups []*PacketGroup) bool

	// fitsAll is fits for what a client has missed and gets at once.
	fitsAll(groups []*PacketGroup) bool

	// unread reports whether the client has sent something that waits to be
	// handled, as far as that can be known.
	unread() bool

	// queued returns how many bytes wait for the client.
	queued() int

	// held returns how many bytes wait, with what it costs to keep them, and for
	// how long the client has taken nothing.
	held() (bytes int, stalled time.Duration)

	// onSlow sets a function that is called, with the session unlocked, when the client
	// may have become too slow. The function then calls isSlow.
	onSlow(f func())
	// isSlow reports whether the client is too slow.
	isSlow() bool

	// writable reports whether a packet group would leave at once.
	writable() bool

	// end closes the transport. It is called once, and reports whether the client must
	// come back for the rest of what was sent to it.
	end(why string, how ending) (lingers bool)

	// forgotten tells a transport that lingers that the client cannot come back any more.
	forgotten()
}

// ending is how much a transport still sends when its session ends.
type ending int

const (
	flush        ending = iota // what is queued, then a close
	discard                    // a close instead of what is queued
	abandon                    // as flush, but only to a client that is listening; it need not come back
	closedByPeer               // only the answer to the client's own request
	gone                       // nothing: nobody listens any more
	cut                        // nothing; what is being sent ends where it is
)

// isTold reports whether the client is to learn of the end.
func (e ending) isTold() bool { return e == flush || e == discard || e == abandon }
