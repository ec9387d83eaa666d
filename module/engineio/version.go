package engineio

import (
	"mime"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// A version is the revision of Engine.IO that a session speaks, from its
// handshake to its end. It knows what differs between them:
//
//   - how packets are read, here, and how they are written, in form
//   - which side asks for the heartbeat, in heartbeat.go
//
// https://socket.io/docs/v4/engine-io-protocol/#difference-between-v3-and-v4
type version byte

const (
	version3 version = 3 // of Socket.IO 1 and 2
	version4 version = 4 // of Socket.IO 3 and 4
)

// parseVersion reads the query parameter EIO. What is no version is 0. A client
// that says none speaks 3: those of Socket.IO 2 in Swift, or written by hand.
func parseVersion(text string) version {
	switch text {
	case "3", "":
		return version3
	case "4":
		return version4
	}
	return 0
}

// parseFrame reads the packet of a WebSocket's frame.
func (v version) parseFrame(opcode int, data []byte) (Packet, error) {
	switch {
	case v == version3 && opcode == wsconn.Text:
		return parseText3(data)
	case v == version3:
		return parseBinary3(data)
	case opcode == wsconn.Text:
		return parseElement(data) // some send base64 over WebSocket, too (forceBase64)
	}
	return Packet{Type: Message, Binary: true, Data: data}, nil
}

// parsePayload reads the packets of a POST's body, as parsePayload does.
func (v version) parsePayload(body []byte, binary bool, yield func(Packet) bool) error {
	switch {
	case v == version3 && binary:
		return parseBinaryPayload3(body, yield)
	case v == version3:
		return parseTextPayload3(body, yield)
	}
	return parsePayload(body, yield)
}

// binaryPayload reports whether the content type of a POST is that of bytes in
// place of text. In version 4, where there is no such payload, only the very word
// is: like Socket.IO's own server, it takes all others for text.
func (v version) binaryPayload(contentType string) bool {
	if v == version4 {
		return contentType == binaryPayload
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	return mediaType == binaryPayload
}

// binaryPayloads reports whether a POST may hold bytes in place of text.
func (v version) binaryPayloads() bool { return v == version3 }

// clientPings reports whether the client asks for the heartbeat, and the server
// answers.
func (v version) clientPings() bool { return v == version3 }
