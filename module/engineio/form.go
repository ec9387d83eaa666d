package engineio

import "github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"

// A form3 is one way to write packets for a client of Engine.IO 3. A packet group is
// encoded once for each that is asked of it.
type form3 struct {
	framed bool // as WebSocket frames, not as part of a payload
	base64 bool // binary messages are text, too
}

// payload joins groups to the answer of a GET.
func (f form3) payload(queue []*PacketGroup) (body []byte, contentType string) {
	contentType = binaryPayload
	if f.base64 || !anyBinary(queue) {
		f.base64, contentType = true, textPayload // which can hold all there is
	}
	for _, b := range queue {
		data, _ := b.as(f)
		body = append(body, data[0]...)
	}
	return body, contentType
}

func anyBinary(queue []*PacketGroup) bool {
	for _, b := range queue {
		if b.binary() {
			return true
		}
	}
	return false
}

// encode writes packets in the form: a frame for each of them, or
// one part of a payload.
func (f form3) encode(packets []Packet) [][]byte {
	switch {
	case f.framed:
		frames := make([][]byte, len(packets))
		for i, packet := range packets {
			if packet.Binary && !f.base64 {
				frames[i] = wsconn.Frame(wsconn.Binary, []byte{message3}, packet.Data)
			} else {
				frames[i] = wsconn.Frame(wsconn.Text, packet.appendText3(nil))
			}
		}
		return frames
	case f.base64:
		return [][]byte{appendTextPayload3(nil, packets...)}
	default:
		return [][]byte{appendBinaryPayload3(nil, packets...)}
	}
}
