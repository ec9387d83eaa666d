package bus

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// A Topic is one of the hub's topics: All, a shard's or a node's.
type Topic string

// All is the topic of all nodes of the hub.
const All Topic = "all"

const (
	shardPrefix = "shard/"
	nodePrefix  = "node/"
)

// ShardTopic returns the topic of a shard, from 0 to Shards-1.
func ShardTopic(shard int) Topic { return Topic(shardPrefix + strconv.Itoa(shard)) }

// NodeTopic returns the topic of one node.
func NodeTopic(node string) Topic { return Topic(nodePrefix + node) }

// IsNode reports whether the topic is a node's.
func (t Topic) IsNode() bool { return strings.HasPrefix(string(t), nodePrefix) }

// shard returns which shard's topic it is. It reports false if it is none.
func (t Topic) shard() (shard int, ok bool) {
	text, ok := strings.CutPrefix(string(t), shardPrefix)
	shard, err := strconv.Atoi(text)
	return shard, ok && err == nil
}

// Shards is how many shards the rooms of a hub are spread over. All nodes must agree on it.
const Shards = 16384

// Shard returns the shard of a room: FNV-1a with 64 bits over the namespace, a zero byte and the
// room, its upper half folded onto the lower one by XOR, modulo Shards. All nodes must agree on it,
// so it never changes.
func Shard(namespace, room string) int {
	sum := addFNV(addFNV(0xcbf29ce484222325, namespace)*fnvPrime, room) // the zero byte changes nothing before the multiplication
	return int((sum ^ sum>>32) % Shards)
}

const fnvPrime = 0x100000001b3

// addFNV adds a text to a hash. hash/fnv would take memory for each.
func addFNV(sum uint64, text string) uint64 {
	for i := range len(text) {
		sum = (sum ^ uint64(text[i])) * fnvPrime
	}
	return sum
}

// maxName is how many bytes the name of a hub or of a node may have. So a topic never exceeds the
// 1,024 bytes that a broker takes.
const maxName = 250

// names are how the broker knows the topics of a hub.
type names struct{ prefix string }

// newNames returns an error if the broker could not take the topics. The hub's name is escaped, so
// that it contains no slash, and topics of two hubs are never the same.
func newNames(hub, node string) (names, error) {
	for what, name := range map[string]string{"hub": hub, "node": node} {
		if name == "" || len(name) > maxName {
			return names{}, fmt.Errorf("the name of the %s has %d bytes: it must have 1 to %d", what, len(name), maxName)
		}
	}
	n := names{url.PathEscape(hub) + "/"}
	if len(n.prefix)+len(nodePrefix)+len(node) > 1024 {
		return names{}, errors.New("the names of the hub and the node are too long together")
	}
	return n, nil
}

func (n names) of(t Topic) string { return n.prefix + string(t) }
