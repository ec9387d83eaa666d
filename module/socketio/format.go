package socketio

import (
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A format is how packets are written as Engine.IO messages: that of one of
// Socket.IO's parsers. It is comparable, and the same for all sessions that use it.
// An error is a *realtime.LimitError, or says that the message is no packet.
type format interface {
	// open reads all of the message that begins a packet but the data: what
	// decides whether that is worth reading.
	open(m engineio.Packet, l *realtime.Limits) (header, error)

	// read reads the data of a packet whose attachments, as many as its header
	// says, have come.
	read(h header, attachments [][]byte, l *realtime.Limits) (packet, error)

	// encode returns the messages that a packet is written as.
	encode(p packet) *engineio.PacketGroup
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

// encodeMessage returns a message as the packet group that all its recipients of one
// format share.
func encodeMessage(f format, m *realtime.Message) *engineio.PacketGroup {
	return m.Encoding(f, func(m *realtime.Message) any { return f.encode(eventPacket(m)) }).(*engineio.PacketGroup)
}

// A header is a packet whose data has not been read.
type header struct {
	kind        packetType
	attachments int // that are to come
	namespace   string
	id          string // digits, "" for none
	data        []byte // in the format, nil or empty for none
}
