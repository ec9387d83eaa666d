package engineio

import (
	"bytes"
	"unicode/utf8"
)

// separator stands between the packets of a polling payload.
// https://socket.io/docs/v4/engine-io-protocol/#http-long-polling-1
const separator = 0x1e

// parsePayload calls yield for each packet of a payload in turn, until one is
// no packet or yield returns false.
func parsePayload(payload []byte, yield func(Packet) bool) error {
	if !utf8.Valid(payload) {
		return errPacket // passed on in a text frame, it would end the connections of others
	}
	for more := true; more; {
		var element []byte
		element, payload, more = bytes.Cut(payload, []byte{separator})
		packet, err := parseElement(element)
		if err != nil {
			return err
		}
		if !yield(packet) {
			return nil
		}
	}
	return nil
}

// appendPayload appends packets to a payload, which may hold some already.
func appendPayload(payload []byte, packets ...Packet) []byte {
	for _, packet := range packets {
		if len(payload) > 0 {
			payload = append(payload, separator)
		}
		payload = packet.appendElement(payload)
	}
	return payload
}
