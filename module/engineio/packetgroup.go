package engineio

import (
	"sync"
	"sync/atomic"

	"github.com/caddy-realtime/caddy-realtime/module/internal/outbox"
)

// A PacketGroup is packets with nothing in between, such as a binary event and its
// attachments. It may be sent to any number of sessions. In each encoding that these
// need, it is encoded once. It must not be copied, and its packets' data must not change
// any more.
type PacketGroup struct {
	packets []Packet
	size    int  // bytes of the packets
	binary  bool // one of the packets is
	common  bool // it is the same for all sessions of all hubs, and not counted anywhere

	text   Text      // the only packet, which can become a frame in its place; nil: none
	packet [1]Packet // what packets points to then

	held outbox.Shared // counts the polling sessions that hold the packets

	encoding sync.Mutex              // held while an encoding is made
	cache    atomic.Pointer[encoded] // the latest of the encodings that were made
	first    encoded                 // the oldest
}

// NewPacketGroup returns the group of one or more packets.
func NewPacketGroup(packets ...Packet) *PacketGroup {
	g := &PacketGroup{packets: packets}
	for _, packet := range packets {
		g.size += 1 + len(packet.Data)
		g.binary = g.binary || packet.Binary
	}
	g.held.Size = 2 * g.size // with an encoding of them
	return g
}

// packetOverhead and groupOverhead are about how many bytes a packet costs beside its
// data, and a group beside its packets, while it waits for a GET.
const (
	packetOverhead = 64
	groupOverhead  = 256
)

// cost returns how many bytes the group is counted as while it waits for a GET.
func (g *PacketGroup) cost() int { return g.size + groupOverhead + packetOverhead*len(g.packets) }

// hold tells a budget that one polling session more holds the group.
func (g *PacketGroup) hold(budget *outbox.Budget) {
	budget.Add(g.cost() - g.size)
	if !g.common {
		budget.Hold(&g.held)
	}
}

// drop is the opposite of hold.
func (g *PacketGroup) drop(budget *outbox.Budget) {
	budget.Add(g.size - g.cost())
	if !g.common {
		budget.Drop(&g.held)
	}
}

// Groups that are the same for every session.
var (
	pingGroup      = commonGroup(Packet{Type: Ping})
	noopGroup      = commonGroup(Packet{Type: Noop})
	closeGroup     = commonGroup(Packet{Type: Close})
	lateCloseGroup = commonGroup(Packet{Type: Noop}, Packet{Type: Close}) // as from Socket.IO's own server
	pongGroup      = commonGroup(Packet{Type: Pong})                      // answers clients that ping
	probePongGroup = commonGroup(Packet{Type: Pong, Data: []byte(probe)})
)

func commonGroup(packets ...Packet) *PacketGroup {
	g := NewPacketGroup(packets...)
	g.common = true
	return g
}
