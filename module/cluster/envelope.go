package cluster

// An Envelope is what one node tells the others. A broker carries Node, Topic and Payload as they are.
type Envelope struct {
	// Node identifies the publisher, in its own words. A broker does not check it.
	Node string

	// Topic is whom it is for.
	Topic string

	// Payload is opaque. An empty one may arrive as nil.
	//
	// It is shared by the publisher and all who receive it, and read-only for all of them and for ever.
	Payload []byte

	// Gap says, in an envelope that has nothing else but its Topic, that between the one received before and the one
	// after it envelopes may be missing: somebody who promised completeness has to take that back. Only brokers set it.
	Gap bool
}
