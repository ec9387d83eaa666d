//go:build linux

package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/packet"
)

// client is one connection.
type client struct {
	fd       int
	place    int    // among the members; -1 outside
	upgraded bool   // after the handshake
	partial  []byte // the beginning of a frame or of the handshake
	queue    []byte // what the kernel has not taken yet
}

var errClosed = errors.New("closed, or no frame that is known here")

// handle handles all that is whole in data, and returns the rest.
func (s *server) handle(c *client, data []byte) (rest []byte, err error) {
	if !c.upgraded {
		end := bytes.Index(data, []byte("\r\n\r\n"))
		if end < 0 {
			return data, nil
		}
		s.out = appendFrame(appendHandshake(s.out, data[:end+2]), []byte(packet.Open))
		c.upgraded, data = true, data[end+4:]
	}
	for {
		payload, rest, err := cutFrame(data)
		if err != nil || payload == nil {
			return rest, err
		}
		s.answer(c, payload)
		data = rest
	}
}

// answer does what a packet asks for.
func (s *server) answer(c *client, payload []byte) {
	switch kind, id := packet.Parse(payload); kind {
	case packet.Connect:
		s.out = appendFrame(s.out, []byte(packet.Connected))
	case packet.Join:
		s.join(c)
		s.appendAck(id)
	case packet.AckedEvent:
		s.appendAck(id)
	case packet.Event:
		frame := appendFrame(nil, payload)
		for _, member := range s.members {
			if member != c {
				s.write(member, frame)
			}
		}
	case packet.Other:
	}
}

// appendAck appends the frame of an ack, whose payload is short.
func (s *server) appendAck(id []byte) {
	start := len(s.out)
	s.out = packet.AppendAck(append(s.out, textFrame, 0), id)
	s.out[start+1] = byte(len(s.out) - start - 2)
}

// appendHandshake appends the answer to a handshake; see RFC 6455, section 4.2.2.
func appendHandshake(out, head []byte) []byte {
	const name, guid = "Sec-WebSocket-Key: ", "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	_, key, _ := bytes.Cut(head, []byte(name))
	key, _, _ = bytes.Cut(key, []byte("\r\n"))
	sum := sha1.Sum(append(bytes.Clone(key), guid...))
	out = append(out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	out = base64.StdEncoding.AppendEncode(out, sum[:])
	return append(out, "\r\n\r\n"...)
}

// textFrame is the first byte of a whole text message; see RFC 6455, section 5.2.
const textFrame = 0x81

func appendFrame(out, payload []byte) []byte {
	if len(payload) < 126 {
		out = append(out, textFrame, byte(len(payload)))
	} else {
		out = binary.BigEndian.AppendUint16(append(out, textFrame, 126), uint16(len(payload)))
	}
	return append(out, payload...)
}

// cutFrame unmasks the payload of the first frame in place. The payload is nil where the frame is
// not whole yet.
func cutFrame(data []byte) (payload, rest []byte, err error) {
	if len(data) < 6 {
		return nil, data, nil
	}
	header, length := 2, int(data[1]&0x7f)
	if data[0] != textFrame || length == 127 {
		return nil, nil, errClosed
	}
	if length == 126 {
		header, length = 4, int(binary.BigEndian.Uint16(data[2:]))
	}
	if len(data) < header+4+length {
		return nil, data, nil
	}
	mask, payload := data[header:header+4], data[header+4:header+4+length]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	return payload, data[header+4+length:], nil
}
