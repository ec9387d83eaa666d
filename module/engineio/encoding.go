package engineio

import (
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// A layout is how a codec writes packet groups for some of its clients.
type layout struct {
	// framed is true for WebSocket frames, and false for a part of a payload.
	framed bool
	// base64 is true if binary messages become text.
	base64 bool
	// write returns a frame for each packet, or one part of a payload.
	write func(packets []Packet) [][]byte
}

// frameLayout returns a layout of WebSocket frames.
func frameLayout(base64 bool, frame func(Packet) []byte) *layout {
	return &layout{framed: true, base64: base64, write: func(packets []Packet) [][]byte {
		frames := make([][]byte, len(packets))
		for i, packet := range packets {
			frames[i] = frame(packet)
		}
		return frames
	}}
}

// payloadLayout returns a layout of payloads.
func payloadLayout(base64 bool, appendTo func([]byte, ...Packet) []byte) *layout {
	return &layout{base64: base64, write: func(packets []Packet) [][]byte {
		return [][]byte{appendTo(nil, packets...)}
	}}
}

// compress returns what write has returned compressed: each frame of at least from bytes
// (RFC 7692), or a payload by gzip.
func (l *layout) compress(data [][]byte, from int) [][]byte {
	if !l.framed {
		return [][]byte{zip(data[0])}
	}
	data = slices.Clone(data)
	for i, frame := range data {
		if wsconn.PayloadSize(frame) >= from {
			data[i] = wsconn.Deflate(frame)
		}
	}
	return data
}

// An encoding is one way to write a packet group. It is the key of the group's cache.
type encoding struct {
	layout       *layout
	compressFrom int // see layout.compress; 0: not at all
}

// An encoded is a packet group in one encoding.
type encoded struct {
	encoding encoding
	data     [][]byte  // a frame for each packet, or one part of a payload
	frame    [1][]byte // what data points to where a Text became a frame
	held     outbox.Shared
	next     *encoded // in the cache
}

// encode returns the group in an encoding, and what counts the queues that hold it. It
// may be called concurrently. The group is encoded once, however often this is called.
func (g *PacketGroup) encode(e encoding) ([][]byte, *outbox.Shared) {
	if e.layout.framed && !g.binary {
		e.layout = frames4 // text frames are the same in all
	}
	if g.size < e.compressFrom {
		e.compressFrom = 0
	}
	made := g.cached(e)
	if made == nil {
		g.encoding.Lock()
		made = g.encodeLocked(e)
		g.encoding.Unlock()
	}
	if g.common {
		return made.data, nil
	}
	return made.data, &made.held
}

// cached returns an encoding that has been made; nil: it has not.
func (g *PacketGroup) cached(e encoding) *encoded {
	made := g.cache.Load()
	for made != nil && made.encoding != e {
		made = made.next
	}
	return made
}

// encodeLocked is encode without a look at the cache before the lock.
func (g *PacketGroup) encodeLocked(e encoding) *encoded {
	if made := g.cached(e); made != nil {
		return made // meanwhile
	}
	var data [][]byte
	if e.compressFrom > 0 {
		data = e.layout.compress(g.encodeLocked(encoding{layout: e.layout}).data, e.compressFrom)
	}
	made := &g.first // so that the first one takes no allocation
	if g.cache.Load() != nil {
		made = new(encoded)
	}
	switch {
	case data != nil:
	case e.layout == frames4 && g.text != nil:
		made.frame[0] = g.text.frame()
		data = made.frame[:]
	default:
		data = e.layout.write(g.packets)
	}
	made.encoding, made.data, made.next = e, data, g.cache.Load()
	for _, chunk := range data {
		made.held.Size += len(chunk)
	}
	g.cache.Store(made)
	return made
}
