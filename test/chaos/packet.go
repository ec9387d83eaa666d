package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Types of Engine.IO packets, and of Socket.IO packets within messages; see
// engine.io-protocol, version 4, and socket.io-protocol, version 5.
const (
	engineOpen    = '0'
	engineClose   = '1'
	enginePing    = '2'
	engineMessage = '4'
	engineNoop    = '6'

	packetConnect      = '0'
	packetDisconnect   = '1'
	packetEvent        = '2'
	packetAck          = '3'
	packetConnectError = '4'
)

// A packet is a Socket.IO packet of the namespace /, without binary data.
type packet struct {
	kind byte
	id   int // -1: none
	data json.RawMessage
}

// parsePacket parses what follows the type of an Engine.IO message. The packet shares
// the bytes.
func parsePacket(text []byte) (packet, error) {
	if len(text) == 0 {
		return packet{}, errors.New("empty packet")
	}
	p := packet{kind: text[0], id: -1}
	rest := text[1:]
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if digits > 0 {
		id, err := strconv.Atoi(string(rest[:digits]))
		if err != nil {
			return packet{}, fmt.Errorf("parsing the id of packet %q: %w", text, err)
		}
		p.id = id
	}
	p.data = json.RawMessage(rest[digits:])
	if p.kind < packetConnect || p.kind > packetConnectError || bytes.HasPrefix(p.data, []byte("/")) {
		return packet{}, fmt.Errorf("packet %q is none expected", text)
	}
	return p, nil
}

// appendEvent appends an Engine.IO message with an event that wants an ack.
func appendEvent(out []byte, id int, args []any) ([]byte, error) {
	text, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("encoding arguments: %w", err)
	}
	out = append(out, engineMessage, packetEvent)
	out = strconv.AppendInt(out, int64(id), 10)
	return append(out, text...), nil
}
