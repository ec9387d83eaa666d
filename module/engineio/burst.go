package engineio

import (
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// A Burst is a run of packets that nothing may come between, such as a binary
// event and its attachments. It is encoded once for each transport, however
// many sessions it is sent to. It must not be copied, and its packets' data
// must not change any more.
type Burst struct {
	packets []Packet
	size    int

	frameOnce sync.Once
	frames    [][]byte

	payloadOnce sync.Once
	payload     []byte
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

// Packets that are the same for every session.
var (
	pingBurst      = NewBurst(Packet{Type: Ping})
	noopBurst      = NewBurst(Packet{Type: Noop})
	closeBurst     = NewBurst(Packet{Type: Close})
	probePongBurst = NewBurst(Packet{Type: Pong, Data: []byte(probe)})
)
