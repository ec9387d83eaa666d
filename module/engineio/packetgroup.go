package engineio

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// A PacketGroup is a run of packets that nothing may come between, such as a binary
// event and its attachments. It is encoded once for each transport and form,
// however many sessions it is sent to. It must not be copied, and its packets'
// data must not change any more.
type PacketGroup struct {
	packets []Packet
	size    int

	frameOnce   sync.Once
	payloadOnce sync.Once
	frames      [][]byte
	payload     []byte
	framesHeld  outbox.Shared
	packetsHeld outbox.Shared
	common      bool // it is one for all sessions of all hubs, and counts nowhere

	rest atomic.Pointer[encodings] // nil until one is asked for
}

// encodings are those of a packet group that few have: they take no room in the
// others.
type encodings struct {
	zipOnce sync.Once
	zipped  []byte

	mu     sync.Mutex // held while one is made
	frames []encoding
	made3  []encoding3
}

// encoding3 is what a packet group is for clients of Engine.IO 3: frames, or one part of
// a payload.
type encoding3 struct {
	form form3
	data [][]byte
	held *outbox.Shared
}

type encoding struct {
	form   form
	frames [][]byte
	held   *outbox.Shared
}

// A form is in which of the ways that there are a session has its WebSocket
// frames. The zero value is the plain one.
type form struct {
	deflateFrom int  // packets of so many bytes and more are compressed; 0: none
	base64      bool // binary messages are text
}

// NewPacketGroup returns the packet group of one or more packets.
func NewPacketGroup(packets ...Packet) *PacketGroup {
	b := &PacketGroup{packets: packets}
	for _, packet := range packets {
		b.size += 1 + len(packet.Data)
	}
	b.packetsHeld.Size = 2 * b.size // with an encoding of them
	return b
}

// packetOverhead and groupOverhead are about how many bytes a packet costs beside
// its data, and a packet group beside its packets, while it waits for a GET.
const (
	packetOverhead = 64
	groupOverhead  = 256
)

// held returns how many bytes the packet group is counted as while it waits for a GET.
func (b *PacketGroup) held() int { return b.size + groupOverhead + packetOverhead*len(b.packets) }

// hold tells a budget that one polling session more holds the packet group.
func (b *PacketGroup) hold(budget *outbox.Budget) {
	budget.Add(b.held() - b.size)
	if !b.common {
		budget.Hold(&b.packetsHeld)
	}
}

// drop is the opposite of hold.
func (b *PacketGroup) drop(budget *outbox.Budget) {
	budget.Add(b.size - b.held())
	if !b.common {
		budget.Drop(&b.packetsHeld)
	}
}

// wire returns the packet group as WebSocket frames of a form, and who holds them.
func (b *PacketGroup) wire(f form) ([][]byte, *outbox.Shared) {
	f.base64 = f.base64 && b.binary()
	if b.size < f.deflateFrom {
		f.deflateFrom = 0
	}
	if f == (form{}) {
		return b.plain()
	}
	e := b.encodings()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, encoded := range e.frames {
		if encoded.form == f {
			return encoded.frames, encoded.held
		}
	}
	frames, _ := b.plain()
	if f.base64 {
		frames = b.texts()
	}
	if f.deflateFrom > 0 {
		frames = deflated(frames, f.deflateFrom)
	}
	held := &outbox.Shared{Size: total(frames)}
	e.frames = append(e.frames, encoding{f, frames, held})
	return frames, held
}

func total(chunks [][]byte) int {
	size := 0
	for _, chunk := range chunks {
		size += len(chunk)
	}
	return size
}

// texts returns the packet group as text frames, with base64 for what is binary.
func (b *PacketGroup) texts() [][]byte {
	frames := make([][]byte, len(b.packets))
	for i, packet := range b.packets {
		frames[i] = wsconn.Frame(wsconn.Text, packet.appendElement(nil))
	}
	return frames
}

// plain returns the packet group as WebSocket frames that every client can read, and who
// holds them.
func (b *PacketGroup) plain() ([][]byte, *outbox.Shared) {
	b.frameOnce.Do(func() {
		b.frames = make([][]byte, len(b.packets))
		for i, packet := range b.packets {
			if packet.Binary {
				b.frames[i] = wsconn.Frame(wsconn.Binary, packet.Data)
			} else {
				b.frames[i] = wsconn.Frame(wsconn.Text, []byte{byte(packet.Type)}, packet.Data)
			}
		}
		b.framesHeld.Size = total(b.frames)
	})
	if b.common {
		return b.frames, nil
	}
	return b.frames, &b.framesHeld
}

// deflated returns frames, those of at least from bytes compressed.
func deflated(frames [][]byte, from int) [][]byte {
	frames = slices.Clone(frames)
	for i, frame := range frames {
		if wsconn.PayloadSize(frame) >= from {
			frames[i] = wsconn.Deflate(frame)
		}
	}
	return frames
}

// elements returns the packet group as part of a polling payload.
func (b *PacketGroup) elements() []byte {
	b.payloadOnce.Do(func() { b.payload = appendPayload(nil, b.packets...) })
	return b.payload
}

// as returns the packet group in a form of Engine.IO 3, and who holds that.
func (b *PacketGroup) as(f form3) ([][]byte, *outbox.Shared) {
	if f.framed && !b.binary() {
		return b.plain() // text frames are the same in both versions
	}
	e := b.encodings()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, made := range e.made3 {
		if made.form == f {
			return made.data, made.held
		}
	}
	data := f.encode(b.packets)
	held := &outbox.Shared{Size: total(data)}
	e.made3 = append(e.made3, encoding3{f, data, held})
	return data, held
}

// binary reports whether any of the packets is.
func (b *PacketGroup) binary() bool {
	return slices.ContainsFunc(b.packets, func(p Packet) bool { return p.Binary })
}

// zip returns the elements compressed by gzip.
func (b *PacketGroup) zip() []byte {
	e := b.encodings()
	e.zipOnce.Do(func() { e.zipped = zip(b.elements()) })
	return e.zipped
}

func (b *PacketGroup) encodings() *encodings {
	if e := b.rest.Load(); e != nil {
		return e
	}
	b.rest.CompareAndSwap(nil, new(encodings))
	return b.rest.Load()
}

// Packets that are the same for every session.
var (
	pingGroup      = commonGroup(Packet{Type: Ping})
	noopGroup      = commonGroup(Packet{Type: Noop})
	closeGroup     = commonGroup(Packet{Type: Close})
	lateCloseGroup = commonGroup(Packet{Type: Noop}, Packet{Type: Close}) // as from Socket.IO's own server
	pongGroup      = commonGroup(Packet{Type: Pong})                      // version 3 only
	probePongGroup = commonGroup(Packet{Type: Pong, Data: []byte(probe)})
)

func commonGroup(packets ...Packet) *PacketGroup {
	b := NewPacketGroup(packets...)
	b.common = true
	return b
}
