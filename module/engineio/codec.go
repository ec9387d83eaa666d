package engineio

// A codec is how one revision of Engine.IO writes and reads packets, and what else is
// different between the revisions. A session has the codec of its handshake to its end.
// https://socket.io/docs/v4/engine-io-protocol/#difference-between-v3-and-v4
type codec struct {
	// revision is the value of the query parameter EIO.
	revision int
	// clientPings is true if the client sends the pings, and false if the server does.
	clientPings bool
	// separator stands between packet groups that are joined to a payload.
	separator []byte

	// frames and base64Frames are WebSocket frames, the latter without binary ones.
	frames, base64Frames *layout
	// textPayload is a payload that is text, with binary messages as base64.
	// binaryPayload is a payload of bytes; nil if there is none.
	textPayload, binaryPayload *layout

	// parseFrame reads the packet of a WebSocket message.
	parseFrame func(opcode int, data []byte) (Packet, error)
	// isBinary reports whether a POST with this content type has a payload of bytes. It
	// also reports it if there is no such payload, and the POST is refused.
	isBinary func(contentType string) bool
	// parsePayload calls yield for each packet of a payload in turn, until one is
	// malformed or yield returns false.
	parsePayload func(payload []byte, binary bool, yield func(Packet) bool) error
}

// framesFor returns the layout for a WebSocket whose client wants base64 or not.
func (c *codec) framesFor(base64 bool) *layout {
	if base64 {
		return c.base64Frames
	}
	return c.frames
}

// codecOf returns the codec of a revision as a query names it; nil if there is none. A client
// that names no revision speaks 3: those of Socket.IO 2 in Swift, or written by hand.
func codecOf(revision string) *codec {
	switch revision {
	case "3", "":
		return codec3
	case "4":
		return codec4
	}
	return nil
}
