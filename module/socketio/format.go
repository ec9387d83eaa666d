package socketio

import (
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A format is how packets are written as Engine.IO messages: that of one of
// Socket.IO's parsers. It is comparable, and the same for all sessions that use it.
type format interface {
	// decode reads the next message of a session. begun is the packet that the
	// messages before it have begun, if any. rest is the packet that is not
	// complete yet; where there is none, p is the one that is.
	decode(m engineio.Packet, begun *assembly) (p packet, rest *assembly, err error)

	// encode returns the messages that a packet is written as.
	encode(p packet) *engineio.Burst
}

// formatOf returns the format of a session whose first message this is. Clients
// begin with a CONNECT packet: it is text in the default parser's format, and
// binary in that of socket.io-msgpack-parser.
func formatOf(first engineio.Packet) format {
	if first.Binary {
		return msgpackFormat{}
	}
	return textFormat{}
}

// encodeMessage returns a message as the burst that all its recipients of one
// format share.
func encodeMessage(f format, m *realtime.Message) *engineio.Burst {
	return m.Encoding(f, func(m *realtime.Message) any { return f.encode(eventPacket(m)) }).(*engineio.Burst)
}
