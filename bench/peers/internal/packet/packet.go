// Package packet is as much of Engine.IO 4 and Socket.IO 5 as the bench's clients speak. A server
// that knows nothing of Socket.IO answers their packets by it, so that it sends the same bytes as
// those that do.
package packet

import "bytes"

const (
	// Open is the packet that a server sends first.
	Open = `0{"sid":"bench","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
	// Connected answers a packet of the kind Connect.
	Connected = `40{"sid":"bench"}`
)

// Kind says what a packet asks for.
type Kind int

const (
	// Other packets have no answer.
	Other Kind = iota
	// Connect enters the default namespace.
	Connect
	// Join puts the client into the room and wants an ack.
	Join
	// Event is for the other members of the room.
	Event
	// AckedEvent is for nobody and wants an ack.
	AckedEvent
)

// Parse returns the kind of a packet that a client has sent, and the digits of its ack id. The id
// shares its memory with the packet.
func Parse(packet []byte) (kind Kind, id []byte) {
	rest, isEvent := bytes.CutPrefix(packet, []byte("42"))
	if !isEvent {
		if bytes.Equal(packet, []byte("40")) {
			return Connect, nil
		}
		return Other, nil
	}
	digits := bytes.IndexByte(rest, '[')
	switch {
	case digits < 0:
		return Other, nil
	case bytes.HasPrefix(rest[digits:], []byte(`["join"`)):
		return Join, rest[:digits]
	case digits == 0:
		return Event, nil
	}
	return AckedEvent, rest[:digits]
}

// AppendAck appends the ack, without arguments, of a packet with an id.
func AppendAck(out, id []byte) []byte {
	out = append(out, "43"...)
	out = append(out, id...)
	return append(out, "[]"...)
}
