package realtime

import (
	"slices"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// topicOf returns the topic of a room. All nodes receive what is sent to a socket's own room.
func topicOf(namespace, room string) bus.Topic {
	if isSocketID(room) {
		return bus.All
	}
	return bus.ShardTopic(bus.Shard(namespace, room))
}

// topics returns the topics that a broadcast to the target is published to, each once: those of its
// rooms, and All if it has users, or neither. All nodes must find the same.
func (t *target) topics(namespace string) []bus.Topic {
	if t.everyone() {
		return []bus.Topic{bus.All}
	}
	topics := make([]bus.Topic, 0, 1)
	for _, room := range t.rooms {
		if topic := topicOf(namespace, room); !slices.Contains(topics, topic) {
			topics = append(topics, topic)
		}
	}
	if len(t.users) > 0 && !slices.Contains(topics, bus.All) {
		topics = append(topics, bus.All)
	}
	return topics
}

// part returns the part of the target that the copy in a topic is for. It has neither rooms nor users
// if there is none.
func (t *target) part(namespace string, topic bus.Topic) target {
	part := target{except: t.except}
	if topic == bus.All {
		part.users = t.users
	}
	for _, room := range t.rooms {
		if topicOf(namespace, room) == topic {
			part.rooms = append(part.rooms, room)
		}
	}
	return part
}
