package socketio

import (
	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A format is how one of Socket.IO's parsers writes packets as Engine.IO messages. It is
// comparable, and equal for all sessions that use the same format. The error of its methods is a
// *realtime.LimitError, or any other error if the message is not a packet.
type format interface {
	// open reads a message that begins a packet, except for the packet's data.
	open(m engineio.Packet, l *realtime.Limits) (header, error)

	// read reads the data of a packet. There must be as many attachments as the header says.
	read(h header, attachments [][]byte, l *realtime.Limits) (packet, error)

	// encode returns a packet as Engine.IO messages.
	encode(p packet) *engineio.PacketGroup

	// send sends a packet to one session. The batch may be nil.
	send(s *engineio.Session, in *engineio.Batch, p packet) error
}

// formatOf returns the format of a session, from its first message. Clients begin with a CONNECT
// packet, which is text in the default parser's format, and binary in that of
// socket.io-msgpack-parser.
func formatOf(first engineio.Packet) format {
	if first.Binary {
		return msgpackFormat{}
	}
	return textFormat{}
}

// encodeMessage returns a message as a packet group, which all recipients with the same format
// share.
func encodeMessage(f format, m *realtime.Message) *engineio.PacketGroup {
	return m.Encoding(f, func(m *realtime.Message) any { return f.encode(eventPacket(m)) }).(*engineio.PacketGroup)
}

// A header is a packet whose data has not been read.
type header struct {
	kind        packetType
	attachments int // how many follow
	namespace   string
	id          string // digits, or ""
	data        []byte // in the format; may be empty
}
