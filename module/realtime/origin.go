package realtime

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// An origin says which message of which node an event is, so that two nodes can compare what they
// have recorded. An event that was not published has none.
type origin struct {
	publisher
	id      uint64        // the broadcastMessage.ID
	numbers []topicNumber // of the copies in several topics, or of the one that has come
}

// A publisher is one incarnation of a node.
type publisher struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
}

// A topicNumber is the number of a message in its topic.
type topicNumber struct {
	topic  bus.Topic
	number uint64
}

// key names the broadcast among those that have several copies. It reports false if this one has not.
// A nil origin has none.
func (o *origin) key() (key copyKey, ok bool) {
	if o == nil || o.id == 0 {
		return copyKey{}, false
	}
	return copyKey{o.publisher, o.id}, true
}

// heard says up to which number a recovery store has recorded the events of each publisher in each
// topic. Other messages of a topic have numbers, too, so this is the last one that was an event.
type heard struct {
	topics map[bus.Topic]map[publisher]heardNumber
	count  int
}

type heardNumber struct {
	number uint64
	at     time.Time
}

// maxHeard is how many numbers are kept. A broker may invent any number of publishers.
const maxHeard = 1 << 18

// add records an event's origin. The caller records the events of a publisher in a topic in the order
// of their numbers.
func (h *heard) add(o *origin, at time.Time) {
	if o == nil {
		return
	}
	for _, n := range o.numbers {
		h.raise(n.topic, o.publisher, n.number, at)
	}
}

// raise records that everything up to a number has been recorded, or never will be.
func (h *heard) raise(topic bus.Topic, from publisher, number uint64, at time.Time) {
	publishers := h.topics[topic]
	last, known := publishers[from]
	switch {
	case known:
	case h.count >= maxHeard:
		return
	case publishers == nil:
		if h.topics == nil {
			h.topics = make(map[bus.Topic]map[publisher]heardNumber)
		}
		publishers = make(map[publisher]heardNumber)
		h.topics[topic] = publishers
		fallthrough
	default:
		h.count++
	}
	publishers[from] = heardNumber{max(last.number, number), at}
}

// last returns the last number of a publisher in a topic; 0 if there is none.
func (h *heard) last(topic bus.Topic, from publisher) uint64 { return h.topics[topic][from].number }

// prune drops the numbers before a time.
func (h *heard) prune(before time.Time) {
	for topic, publishers := range h.topics {
		for from, last := range publishers {
			if last.at.Before(before) {
				delete(publishers, from)
				h.count--
			}
		}
		if len(publishers) == 0 {
			delete(h.topics, topic)
		}
	}
}
