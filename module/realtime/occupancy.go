package realtime

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/replica"
)

// An occupancy is how many connections users have, and how many connected sockets are in rooms, on
// all nodes. Nodes tell one another by hashes in place of names, which take less memory, and only what
// has changed. What is counted on other nodes is up to half a second old. Once nothing changes, it is
// exact.
type occupancy struct {
	hub   *Hub
	table *replica.Table[occupancyKey, uint32]

	mu    sync.Mutex
	names map[occupancyKey]occupied // of this node's users and rooms, while others are told of them
}

// An occupancyKey is a user or a room: the first 64 bits of the SHA-256 of its kind and name. Two
// users or rooms with the same key would count together. Among a billion of them, that has a chance
// of one in 37; someone who searches for names that do, finds out how many connections both have.
type occupancyKey uint64

// occupied is what a key of this node stands for.
type occupied struct {
	namespace string // "" for a user
	name      string
	changes   uint32 // how often it has changed
}

// newOccupancy returns the occupancy of a hub with other nodes.
func newOccupancy(h *Hub) *occupancy {
	o := &occupancy{hub: h, names: make(map[occupancyKey]occupied)}
	o.table = replica.New(replica.Options[occupancyKey, uint32]{
		Kind:   "occupancy",
		Codec:  occupancyCodec{},
		Append: o.appendCount,
		Keys:   o.keys,
		Logger: h.logger,
	})
	return o
}

func userKey(user string) occupancyKey { return hashNames("user", "", user) }

func roomKey(namespace, room string) occupancyKey { return hashNames("room", namespace, room) }

// hashNames hashes names, with the length of the namespace before it: no two pairs are hashed alike.
func hashNames(kind, namespace, name string) occupancyKey {
	var buffer [128]byte
	text := binary.AppendUvarint(append(buffer[:0], kind...), uint64(len(namespace)))
	text = append(append(text, namespace...), name...)
	sum := sha256.Sum256(text)
	return occupancyKey(binary.BigEndian.Uint64(sum[:]))
}

// changed notes that a user or a room of this node has changed. It is cheap, and the caller may hold
// the namespace's mutex.
func (o *occupancy) changed(kind, namespace, name string) {
	if !o.table.Active() {
		return
	}
	key := hashNames(kind, namespace, name)
	o.mu.Lock()
	one, known := o.names[key]
	if !known {
		one = occupied{namespace: namespace, name: name}
	}
	one.changes++
	o.names[key] = one
	o.mu.Unlock()
	o.table.Changed(key)
}

// keys is replica.Options.Keys. It begins to keep names anew.
func (o *occupancy) keys() iter.Seq[occupancyKey] {
	o.mu.Lock()
	o.names = make(map[occupancyKey]occupied)
	o.mu.Unlock()
	var keys []occupancyKey
	add := func(key occupancyKey, namespace, name string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, known := o.names[key]; !known {
			o.names[key] = occupied{namespace: namespace, name: name}
		}
		keys = append(keys, key)
	}
	for _, n := range o.hub.Namespaces() {
		n.mu.RLock()
		for user := range n.users {
			add(userKey(user), "", user)
		}
		for room := range n.rooms.named {
			add(roomKey(n.name, room), n.name, room)
		}
		n.mu.RUnlock()
	}
	return func(yield func(occupancyKey) bool) {
		for _, key := range keys {
			if !yield(key) {
				return
			}
		}
	}
}

// appendCount is replica.Options.Append.
func (o *occupancy) appendCount(b []byte, key occupancyKey) (value []byte, ok bool) {
	o.mu.Lock()
	one, known := o.names[key]
	o.mu.Unlock()
	if !known {
		return b, false
	}
	count := 0
	if one.namespace == "" {
		count = o.hub.localConnections(one.name)
	} else if n := o.hub.find(one.namespace); n != nil {
		count = n.localOccupancy(one.name)
	}
	if count > 0 {
		return binary.AppendUvarint(b, uint64(count)), true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.names[key].changes == one.changes { // otherwise it is looked at again
		delete(o.names, key)
	}
	return b, false
}

// elsewhere returns the count of other nodes.
func (o *occupancy) elsewhere(key occupancyKey) (count int) {
	for _, n := range o.table.Values(key) {
		count += int(n)
	}
	return count
}

// Occupancy returns how many connected sockets are in a room on all nodes. What has changed on other
// nodes is counted half a second later.
func (n *Namespace) Occupancy(room string) int {
	return n.current().localOccupancy(room) + n.hub.occupancy.elsewhere(roomKey(n.name, room))
}

func (n *Namespace) localOccupancy(room string) int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.rooms.get(room).members)
}

// UserConnections returns how many connections a user has on all nodes, in all namespaces. Sockets
// that share a connection count once. What has changed on other nodes is counted half a second later.
func (h *Hub) UserConnections(user string) int {
	return h.localConnections(user) + h.ConnectionsElsewhere(user)
}

// ConnectionsElsewhere returns how many of a user's connections are on other nodes.
func (h *Hub) ConnectionsElsewhere(user string) int {
	if user == "" {
		return 0
	}
	return h.occupancy.elsewhere(userKey(user))
}

// An occupancyCodec writes a key in 8 bytes, and a count as a varint.
type occupancyCodec struct{}

var errOccupancy = errors.New("it has an entry that is not a count")

func (occupancyCodec) AppendKey(b []byte, key occupancyKey) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(key))
}

func (occupancyCodec) ReadKey(text []byte) (occupancyKey, error) {
	if len(text) != 8 {
		return 0, errOccupancy
	}
	return occupancyKey(binary.BigEndian.Uint64(text)), nil
}

func (occupancyCodec) AppendValue(b []byte, count uint32) []byte {
	return binary.AppendUvarint(b, uint64(count))
}

func (occupancyCodec) ReadValue(text []byte) (uint32, error) {
	count, n := binary.Uvarint(text)
	if n != len(text) || count == 0 || count > maxOccupancy {
		return 0, errOccupancy
	}
	return uint32(count), nil
}

// maxOccupancy is the largest count that a node can have.
const maxOccupancy = 1 << 30

func (occupancyCodec) Size(occupancyKey, uint32) int { return 32 }
