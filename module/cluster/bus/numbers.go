package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Stamp is the number that a message has got in a topic. Numbers count from 1 for each incarnation
// of a node and each topic.
type Stamp struct {
	Topic       Topic
	Incarnation string
	Number      uint64
}

// PublishStamped is Publish, and returns the stamps of the copies, those that were not queued
// included, in the order of the topics. Without a broker there are none.
func (b *Bus) PublishStamped(kind string, body []byte, volatile bool, to ...Topic) ([]Stamp, error) {
	h := header{Version: b.Version(), Kind: kind}
	stamps := make([]Stamp, 0, len(to))
	var full error
	for _, topic := range to {
		stamp, err := b.addStamped(topic, h, body, volatile)
		if errors.Is(err, errNoBroker) {
			continue
		}
		stamps = append(stamps, stamp)
		if err != nil {
			full = ErrQueueFull
		}
	}
	return stamps, full
}

// InFlight is how long a message may take from one node to another. Later ones are not awaited: a
// node that is so slow is lost.
const InFlight = 10 * time.Second

// inFlightBeats is how many heartbeats that is.
const inFlightBeats = uint64(InFlight / heartbeatInterval)

// Numbers are the last numbers that a node has given in topics.
type Numbers struct {
	Incarnation string           `json:"incarnation"`
	Last        map[Topic]uint64 `json:"last,omitempty"`
}

// check reports what is wrong with another node's numbers of topics.
func (n *Numbers) check(topics []Topic) error {
	if len(n.Incarnation) > maxID {
		return errors.New("its incarnation is too long")
	}
	for topic := range n.Last {
		if !slices.Contains(topics, topic) {
			return errors.New("it has a topic that nobody has asked for")
		}
	}
	return nil
}

// maxAskedTopics is how many topics one request can ask for.
const maxAskedTopics = Shards + 2

// Numbers asks each living node, this one included, for the last numbers that it has given in topics.
// Those of the last InFlight are told: earlier messages have arrived. So a node that has just begun to
// receive a topic learns what it does not get. The error says who has not answered.
func (b *Bus) Numbers(ctx context.Context, topics ...Topic) (map[string]Numbers, error) {
	body, _ := json.Marshal(topics) // cannot fail
	answers, err := b.Request(ctx, kindNumbers, body)
	if err != nil {
		return nil, err
	}
	if len(answers.Missing) > 0 {
		return nil, fmt.Errorf("nodes do not tell their numbers: %q", answers.Missing)
	}
	all := map[string]Numbers{b.node: b.ownNumbers(topics)}
	for node, answer := range answers.Nodes {
		var n Numbers
		if err := json.Unmarshal(answer, &n); err != nil {
			return nil, fmt.Errorf("reading the numbers of node %q: %w", node, err)
		}
		if err := n.check(topics); err != nil {
			return nil, fmt.Errorf("numbers of node %q: %w", node, err)
		}
		all[node] = n
	}
	return all, nil
}

// answerNumbers answers what Numbers asks.
func (b *Bus) answerNumbers(_ context.Context, r Request) ([]byte, error) {
	var topics []Topic
	if err := json.Unmarshal(r.Body, &topics); err != nil {
		return nil, err
	}
	if len(topics) > maxAskedTopics {
		return nil, errors.New("it asks for too many topics")
	}
	return json.Marshal(b.ownNumbers(topics))
}

func (b *Bus) ownNumbers(topics []Topic) Numbers {
	if c := b.connection.Load(); c != nil {
		return c.publisher.numbers(topics)
	}
	return Numbers{}
}

// numbers returns the last numbers of topics that have been published to of late.
func (p *publisher) numbers(topics []Topic) Numbers {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := Numbers{Incarnation: p.incarnation, Last: make(map[Topic]uint64)}
	for _, topic := range topics {
		if t := p.topics[topic]; t != nil && t.sequence > 0 && t.beat+inFlightBeats >= p.beats {
			n.Last[topic] = t.sequence
		}
	}
	return n
}

// strangerWait is how long messages are awaited of a node that has not been heard in a topic yet. They
// may have been published before this node was subscribed. If not, the next heartbeat tells of them.
const strangerWait = heartbeatInterval + heartbeatInterval/2

// AwaitHandled waits until the functions of Options.Receive have returned for all messages up to the
// numbers that nodes have told. Topics that this node is not subscribed to are left out, and so are
// its own numbers. The error is ctx's.
func (b *Bus) AwaitHandled(ctx context.Context, told map[string]Numbers) error {
	// It looks again and again, since it hardly ever has to. No message pays for it.
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for since := time.Now(); !b.hasHandled(told, time.Since(since) >= strangerWait); {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (b *Bus) hasHandled(told map[string]Numbers, waited bool) bool {
	for node, n := range told {
		for topic, number := range n.Last {
			if node != b.node && !b.tracker.hasHandled(topic, node, n.Incarnation, number, waited) {
				return false
			}
		}
	}
	return true
}

// hasHandled reports whether all messages of a node have been handled or given up, up to a number. What a
// heartbeat told when the node was heard of first may be on its way.
// For a node that has not been heard in the topic, it returns stranger.
func (t *tracker) hasHandled(topic Topic, node, incarnation string, number uint64, stranger bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	senders := t.topics[topic]
	switch s := senders[node]; {
	case senders == nil:
		return true
	case s == nil:
		return stranger
	default:
		return s.incarnation == incarnation &&
			(s.handled.Load() >= number || s.accounted >= number && !time.Now().Before(s.settled))
	}
}

// Since returns since when this node has received a topic. It reports false if it does not.
func (b *Bus) Since(topic Topic) (since time.Time, ok bool) {
	c := b.connection.Load()
	switch {
	case c == nil:
		return time.Time{}, false
	case topic == All || topic == NodeTopic(b.node):
		return c.opened, true
	}
	b.watches.mu.Lock()
	defer b.watches.mu.Unlock()
	shard, ok := topic.shard()
	if one := b.watches.shards[shard]; ok && one != nil && one.subscription != nil {
		return one.since, true
	}
	return time.Time{}, false
}

// Lives reports whether another node lives, as far as this one knows.
func (b *Bus) Lives(node string) bool {
	b.members.mu.Lock()
	defer b.members.mu.Unlock()
	known := b.members.known[node]
	return known != nil && !known.lost
}
