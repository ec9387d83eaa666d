package realtime

import (
	"context"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// An interest tells the bus of which rooms of a namespace this node has members, connected or
// recoverable ones: then the node receives what others send to the rooms' shards. A nil interest
// tells nobody.
type interest struct {
	bus       *bus.Bus
	namespace string
	occupancy *occupancy // is told what has changed; nil for sockets that are not connected
}

// maxWatch is how long a socket that joins a room waits until the broker has confirmed that this
// node receives the room. After that it joins all the same. What it may have missed is a gap.
const maxWatch = 2 * time.Second

// retain and release tell that a room has its first member, and that it has none any more. They do
// not wait: the caller holds locks.
func (i *interest) retain(room string) {
	if i != nil && !isSocketID(room) {
		i.bus.Retain(bus.Shard(i.namespace, room))
	}
}

func (i *interest) release(room string) {
	if i != nil && !isSocketID(room) {
		i.bus.Unwatch(bus.Shard(i.namespace, room))
	}
}

// roomChanged and userChanged tell that a room has other members, and that a user has other sockets.
// The caller may hold locks.
func (i *interest) roomChanged(room string) {
	if i != nil && i.occupancy != nil {
		i.occupancy.changed("room", i.namespace, room)
	}
}

func (i *interest) userChanged(user string) {
	if i != nil && i.occupancy != nil && user != "" {
		i.occupancy.changed("user", "", user)
	}
}

// watch is for a socket that is about to join rooms. It waits until the node receives what is sent
// to them, and keeps it so until unwatch. The caller must hold no lock.
func (h *Hub) watch(namespace string, rooms []string) (shards []int) {
	if len(rooms) == 0 {
		return nil
	}
	for _, room := range rooms {
		if len(room) <= MaxRoomName && !isSocketID(room) {
			shards = append(shards, bus.Shard(namespace, room))
		}
	}
	ctx, cancel := context.WithTimeout(h.ctx, maxWatch)
	defer cancel()
	_ = h.bus.Watch(ctx, shards...) // an error means that a gap follows
	return shards
}

// unwatch takes back what watch has returned.
func (h *Hub) unwatch(shards []int) {
	if len(shards) > 0 {
		h.bus.Unwatch(shards...)
	}
}
