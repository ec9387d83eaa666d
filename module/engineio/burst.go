package engineio

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// A Burst is a run of packets that nothing may come between, such as a binary
// event and its attachments. It is encoded once for each form, however many
// sessions it is sent to. It must not be copied, and its packets' data must not
// change any more.
type Burst struct {
	packets []Packet
	size    int

	// The forms of Engine.IO 4, which nearly all clients get.
	frameOnce   sync.Once
	payloadOnce sync.Once
	frames      [][]byte
	payload     []byte

	others atomic.Pointer[encodings] // nil until one is asked for
}

// encodings are what a burst is in the less common forms.
type encodings struct {
	mu   sync.Mutex
	made []encoding // one or two
}

// An encoding is what a burst is in one form: frames, or one part of a payload.
type encoding struct {
	form form
	data [][]byte
}

// NewBurst returns the burst of one or more packets.
func NewBurst(packets ...Packet) *Burst {
	b := &Burst{packets: packets}
	for _, packet := range packets {
		b.size += 1 + len(packet.Data)
	}
	return b
}

// wire returns the burst as WebSocket frames.
func (b *Burst) wire() [][]byte {
	b.frameOnce.Do(func() {
		b.frames = make([][]byte, len(b.packets))
		for i, packet := range b.packets {
			if packet.Binary {
				b.frames[i] = wsconn.Frame(wsconn.Binary, packet.Data)
			} else {
				b.frames[i] = wsconn.Frame(wsconn.Text, []byte{byte(packet.Type)}, packet.Data)
			}
		}
	})
	return b.frames
}

// elements returns the burst as part of a polling payload.
func (b *Burst) elements() []byte {
	b.payloadOnce.Do(func() { b.payload = appendPayload(nil, b.packets...) })
	return b.payload
}

// as returns the burst in a less common form: frames, or one part of a payload.
func (b *Burst) as(f form) [][]byte {
	if f.framed && !b.binary() {
		return b.wire() // text frames are the same in both versions
	}
	others := b.others.Load()
	if others == nil {
		b.others.CompareAndSwap(nil, new(encodings))
		others = b.others.Load()
	}
	return others.get(f, b.packets)
}

// binary reports whether any of the packets is.
func (b *Burst) binary() bool {
	return slices.ContainsFunc(b.packets, func(p Packet) bool { return p.Binary })
}

// get returns the encoding in a form, which is made when it is asked for first.
func (e *encodings) get(f form, packets []Packet) [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, made := range e.made {
		if made.form == f {
			return made.data
		}
	}
	e.made = append(e.made, encoding{f, f.encode(packets)})
	return e.made[len(e.made)-1].data
}

// Packets that are the same for every session.
var (
	pingBurst      = NewBurst(Packet{Type: Ping})
	noopBurst      = NewBurst(Packet{Type: Noop})
	closeBurst     = NewBurst(Packet{Type: Close})
	pongBurst      = NewBurst(Packet{Type: Pong}) // version 3 only
	probePongBurst = NewBurst(Packet{Type: Pong, Data: []byte(probe)})
)
