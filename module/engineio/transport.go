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

// transportNames are all of them.
var transportNames = []string{pollingName, webSocketName}

// IsTransport reports whether a name is that of a transport.
func IsTransport(name string) bool { return slices.Contains(transportNames, name) }

// A transport carries a session's packets. Its methods are called with the
// session's mutex held, and never block.
type transport interface {
	name() string

	// send sends a packet group, or queues it; in a batch, which may be nil, it may be
	// held back until that ends. The error outbox.ErrFull says that the queue
	// is full; any other, that the transport is broken.
	send(g *PacketGroup, batch *Batch) error

	// fits reports whether all of the groups can be queued now. One alone may be
	// sent even if it does not fit.
	fits(groups []*PacketGroup) bool

	// fitsAll is fits for what a client missed, and gets at once.
	fitsAll(groups []*PacketGroup) bool

	// unread reports whether the client has sent something that waits to be
	// handled, as far as that can be known.
	unread() bool

	// queued returns how many bytes wait for the client.
	queued() int

	// held returns how many bytes wait, with what it costs to keep them, and for
	// how long the client has taken nothing.
	held() (bytes int, stalled time.Duration)

	// onSlow sets what is called, without the mutex, when the client may have
	// become too slow. It asks isSlow.
	onSlow(f func())
	isSlow() bool

	// writable reports whether a packet group would leave at once.
	writable() bool

	// end closes the transport, once. It reports whether the client must come
	// back to fetch the end of what was sent to it.
	end(why string, how ending) (lingers bool)

	// forgotten tells a transport that lingers that nobody came.
	forgotten()
}

// ending is how much a transport still says when its session ends.
type ending int

const (
	flush        ending = iota // what is queued, then the close
	discard                    // the close in place of what is queued
	abandon                    // as flush, but only to a peer that is listening: it is not asked back
	closedByPeer               // nothing but what ends the peer's own request
	gone                       // nothing: nobody listens any more
	cut                        // nothing, and what is being sent ends in its midst
)
