package bus

import (
	"errors"
	"fmt"
	"hash/fnv"
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

// Shard returns the shard of the topic. It reports false for other topics.
func (t Topic) Shard() (shard int, ok bool) {
	digits, ok := strings.CutPrefix(string(t), shardPrefix)
	if !ok {
		return 0, false
	}
	shard, err := strconv.Atoi(digits)
	return shard, err == nil
}

// isNode reports whether the topic is a node's. Publishing to it tells other nodes nothing.
func (t Topic) isNode() bool { return strings.HasPrefix(string(t), nodePrefix) }

// Shards is how many shards the rooms of a hub are spread over. All nodes must agree on it.
const Shards = 16384

// Shard returns the shard of a room: FNV-1a with 64 bits over the namespace, a zero byte and the
// room, its upper half folded onto the lower one by XOR, modulo Shards. All nodes must agree on it,
// so it never changes.
func Shard(namespace, room string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(namespace)) // never returns an error
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(room))
	sum := h.Sum64()
	return int((sum ^ sum>>32) % Shards)
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
