package netbroker

import "context"

// A Dialer connects to the messaging system. It calls the handler until the connection is closed.
// Ctx bounds the call only. Errors have no secrets in their texts.
type Dialer func(ctx context.Context, h Handler) (Conn, error)

// A Handler gets what comes over a connection. Its functions do not wait.
type Handler struct {
	// Receive gets each frame of the topics that are subscribed. Frames of one topic come in the
	// order of the messaging system, from one goroutine at a time. The caller must not use frame
	// any more.
	Receive func(topic string, frame []byte)

	// Lost is told that the connection is of no use any more, and why. It may be called repeatedly.
	// What Dialer reports, or is the consequence of Close, must not come here.
	Lost func(why error)
}

// A Conn is a connection to the messaging system. It is never repaired: one that fails is closed,
// and another one dialed. Every error means that it has failed, except that of a ctx that is done.
type Conn interface {
	// Publish sends frames in order. It returns when the system has taken them all. It is called by
	// one goroutine at a time.
	Publish(ctx context.Context, frames []Frame) error

	// Subscribe returns when the system has confirmed the subscriptions: what it takes afterwards is
	// received. Topics that are subscribed are not subscribed again.
	Subscribe(ctx context.Context, topics []string) error

	// Unsubscribe ends subscriptions. It is called by the goroutine that calls Subscribe, so one
	// takes effect before the next.
	Unsubscribe(ctx context.Context, topics []string) error

	// Probe sends something through the system and returns when it has come back as a frame would.
	Probe(ctx context.Context) error

	// MaxFrame is how many bytes a frame may have; 0 for no limit.
	MaxFrame() int

	// Close ends the connection. It waits until Receive is not called any more.
	Close()
}

// A Frame is an encoded envelope on its way to a topic. Its bytes are never modified.
type Frame struct {
	Topic string
	Bytes []byte
}
