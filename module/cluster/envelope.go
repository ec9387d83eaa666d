package cluster

// An Envelope is a message between nodes. A broker delivers Node, Topic and Payload unchanged.
type Envelope struct {
	// Node names the publisher. A broker does not check it.
	Node string

	// Topic selects the subscriptions that receive the envelope.
	Topic string

	// Payload is opaque to brokers. An empty one may arrive as nil. The publisher and all receivers
	// share it, and none of them may ever modify it.
	Payload []byte

	// Gap means that envelopes may be missing between the one received before and the one received
	// next. Such an envelope has nothing else but its Topic. Only brokers set it. A receiver that
	// relies on complete delivery must act on it.
	Gap bool
}
