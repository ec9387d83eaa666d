// Package cluster carries bytes between the nodes of a cluster.
//
// A hub tells the hubs of other nodes what it broadcasts, through a [Broker]. Package membroker has
// the broker of a single process. A broker does not know what the bytes mean.
//
// To write a broker for another messaging system, implement [Broker]. Then run clustertest.Run over
// it, which is this contract as a test.
package cluster

import (
	"context"
	"errors"
)

// ErrClosed is what a Broker's methods return after its Close.
var ErrClosed = errors.New("broker is closed")

// ErrUnavailable is what Publish returns while a Broker has no connection. The error says why. The
// envelope is not delivered, and may be published again later.
var ErrUnavailable = errors.New("broker is not connected")

// A Broker is one node's connection to all others. Brokers that are connected to one another share
// their topics: what is published through any of them reaches the topic's subscriptions at all of
// them, including the publishing one. A node recognizes its own envelopes by their Node.
//
// All methods may be called concurrently.
//
// Order: a subscription receives what one Broker publishes to one topic in order, provided that
// each Publish returned before the next began. There is no order between brokers or topics.
//
// Loss: each envelope is delivered at most once. If envelopes are lost, for whatever reason, the
// subscription receives an [Envelope] with Gap set in their place, as soon as it can receive one,
// whether or not another envelope follows. A subscriber that is too slow causes a gap, and so does
// a connection that was lost and is back. The only exception is an envelope that never left the
// publishing node, because Publish returned an error.
//
// Topics are any 1 to 1,024 bytes, compared byte by byte: no character is special, and no topic
// contains another. A broker whose system has narrower names encodes them. Payloads may have
// 1,000,000 bytes at least.
type Broker interface {
	// Publish accepts e for delivery. It does not wait for subscribers. A networked broker may wait
	// for room on its connection, until ctx is done. A nil error does not mean that anybody has
	// received e. While it has no connection, it returns an error at once, such as one that wraps
	// ErrUnavailable.
	//
	// Once ctx is done, Publish returns ctx's error, and once the broker is closed ErrClosed. In
	// both cases e is not delivered. The caller must never modify e.Payload afterwards: it is
	// shared with the receivers. Gap is ignored. A hub publishes one envelope at a time, and may
	// publish one that failed again: receivers recognize duplicates.
	Publish(ctx context.Context, e Envelope) error

	// Subscribe calls receive with each envelope of the topic from now on: if a Publish begins
	// after Subscribe has returned, on any of the connected brokers, its envelope is delivered. Ctx
	// bounds the call only, not the subscription. A topic may have any number of subscriptions, and
	// each gets all envelopes. While the broker has no connection, Subscribe may return at once: the
	// subscription then receives a gap when there is one again.
	//
	// Receive is called by one goroutine at a time for each subscription. It may call Publish and
	// Subscribe. It must not call any Close, which would wait for it, and must not block for long:
	// envelopes wait for it up to a limit, and beyond that are lost with a gap. It may keep e, but
	// must never modify e.Payload.
	Subscribe(ctx context.Context, topic string, receive func(e Envelope)) (Subscription, error)

	// Close ends all subscriptions as their own Close does. It returns when all goroutines of the
	// broker have ended. The brokers that it was connected to go on. Further calls wait for the
	// first one and return nil.
	Close() error
}

// A Subscription is what Subscribe returns.
type Subscription interface {
	// Close ends the subscription. It waits for the receive in progress. After it has returned,
	// receive is not called any more, and envelopes that still waited are lost. It may be called
	// concurrently and repeatedly, also after the broker's Close, and then returns nil.
	Close() error
}

// A HealthReporter is a Broker that may lose its connection.
type HealthReporter interface {
	// Health returns nil while the broker is connected, and otherwise why it is not. The text has no
	// secrets.
	Health() error
}

// A KeyHolder is a Broker that knows a secret which all nodes of its cluster have, and nobody else.
type KeyHolder interface {
	// ClusterKey returns the secret; nil if there is none. Nobody must be able to guess it.
	ClusterKey() []byte
}
