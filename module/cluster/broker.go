// Package cluster carries bytes between nodes.
//
// A hub tells the other nodes' hubs what its own sockets cannot know. It does so through a [Broker], of which membroker
// is the one for a single process. What the bytes mean is the hub's affair. Whoever writes a broker runs
// clustertest.Run over it: that is this contract as a test.
package cluster

import (
	"context"
	"errors"
)

// ErrClosed is what a Broker's methods return after its Close.
var ErrClosed = errors.New("broker is closed")

// A Broker is one node's connection to all the others. What is published through any of the brokers that are connected to
// one another reaches the topic's subscriptions at all of them, the publishing one included: a node that does not want
// its own envelopes back knows them by their Node.
//
// All methods may be called concurrently.
//
// Order: a subscription receives in order what one Broker publishes to one topic, where a Publish returned before the next
// began. Nothing is promised between brokers, or between topics.
//
// Loss: each envelope is delivered at most once. One that could not be is never left out in silence: the subscription
// receives an [Envelope] with Gap set in its place, as soon as it takes one and whether or not another follows. That holds for a subscriber that is too slow and for a connection that
// was lost and is there again, whatever the reason. (Only what a publisher lost before it left the node, with an error
// from Publish, leaves no gap.)
//
// Topics are any 1 to 1,024 bytes and are compared byte by byte: no character is special, no topic contains another. A
// broker whose own names are more limited encodes them. A Broker carries payloads of 1,000,000 bytes at least.
type Broker interface {
	// Publish hands e over for delivery. It does not wait for a subscriber, however slow; a networked broker may wait for
	// room on its connection, until ctx is done. That e was taken, a nil error, does not say that anybody got it.
	//
	// Once ctx is done it returns ctx's error, once the broker is closed ErrClosed, and nothing is delivered.
	// e.Payload must not be modified any more, even after the return: it is shared with those who receive it. e.Gap
	// is not delivered. A hub publishes one envelope after the other, and one that failed again: it knows what it gets twice.
	Publish(ctx context.Context, e Envelope) error

	// Subscribe calls receive with each envelope published to topic from now on: where a Publish, on any of the
	// connected brokers, begins after the return, its envelope is delivered. Ctx bounds the call only; that it ends
	// later does not matter to the subscription. A topic may have any number of subscriptions, each of which gets all.
	//
	// Receive is called by one goroutine at a time, for each subscription. It may call Publish and Subscribe, must not call
	// a Close (which would wait for itself), and must not block for long: what comes in meanwhile is kept up to a limit
	// and then becomes a gap. It may keep e but never modify e.Payload, which others read.
	Subscribe(ctx context.Context, topic string, receive func(e Envelope)) (Subscription, error)

	// Close ends all subscriptions as their own Close does, and returns when all goroutines of the broker have ended.
	// The brokers that it was connected to go on. Further calls wait for the first and return nil.
	Close() error
}

// A Subscription is what Subscribe began.
type Subscription interface {
	// Close ends it. It waits for the receive in progress; after it, receive is not called any more, and what was not
	// delivered is lost. It may be called concurrently, again, and after the broker's Close, then returning nil.
	Close() error
}

// ListenerCounter is what a Broker has, if it can, to spare a hub the encoding of what nobody else would read.
type ListenerCounter interface {
	// Listeners returns how many subscriptions topic has at all connected brokers, the caller's own included, and 0 after
	// Close. A subscription counts from the return of its Subscribe at the latest until its Close at the earliest. A number
	// too large costs an envelope that nobody reads, one too small loses an event: who is not sure says more.
	//
	// It is called for each broadcast: it never waits for the network.
	Listeners(topic string) int
}
