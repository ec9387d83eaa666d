package bus

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// A heartbeat is the body of what a node publishes each second to All.
type heartbeat struct {
	Speaks int    `json:"speaks"` // the newest version that the node speaks
	Tag    string `json:"tag,omitempty"`

	// Last has the last number of each topic that the node has published to since the heartbeat
	// before: a message may be lost that no other one follows.
	Last map[Topic]uint64 `json:"last,omitempty"`

	// Gap means that the node has not published everything: it knew of nobody to publish it to, or
	// was away.
	Gap bool `json:"gap,omitempty"`

	Leaving bool `json:"leaving,omitempty"` // the node is about to end, and must not be taken for lost
}

// beat sends heartbeats until ctx ends, and does what is due each second.
func (b *Bus) beat(ctx context.Context, c *connection) {
	ticker := time.NewTicker(heartbeatInterval)
	defer ticker.Stop()
	for {
		b.sendHeartbeat(c, kindHeartbeat)
		select {
		case <-ctx.Done():
			return
		case <-b.beatNow:
		case <-ticker.C:
			b.tick(c)
		}
	}
}

// beatSoon has the next heartbeat sent at once.
func (b *Bus) beatSoon() {
	select {
	case b.beatNow <- struct{}{}:
	default:
	}
}

// tick does what is due each second.
func (b *Bus) tick(c *connection) {
	for _, lost := range b.members.check(c.heartbeats) {
		b.logger.Warn("node is lost", zap.String("node", lost.Node))
		b.declareLost(All, lost.Node, lost.Incarnation)
	}
	b.members.tell()
	for _, m := range b.tracker.missing(time.Now()) {
		b.reportGap(m.topic, m.node, "the broker has not delivered its last ones")
	}
	b.watches.closeIdle()
}

// sendHeartbeat publishes a heartbeat, or the message of that kind that is the last one. Only one
// goroutine calls it at a time. What waits in the queue does not delay it.
func (b *Bus) sendHeartbeat(c *connection, kind string) {
	incarnation, last := c.publisher.last()
	body := heartbeat{Speaks: b.version, Tag: b.tag, Last: last, Leaving: b.leaving.Load()}
	if kind == kindHeartbeat {
		body.Gap = b.skipped.Swap(false)
	}
	h := header{Version: minVersion, Kind: kind, Incarnation: incarnation, Sequence: c.heartbeats + 1}
	text, _ := json.Marshal(body) // cannot fail
	ctx, cancel := context.WithTimeout(context.Background(), heartbeatInterval)
	defer cancel()
	err := c.broker.Publish(ctx, cluster.Envelope{Node: b.node, Topic: b.names.of(All), Payload: append(h.append(nil), text...)})
	if err != nil {
		if body.Gap {
			b.skipped.Store(true)
		}
		b.logger.Warn("broker takes no heartbeat", zap.Error(err))
		return
	}
	c.heartbeats++
	c.publisher.told(body.Last)
}

// receiveHeartbeat takes a heartbeat of another node.
func (b *Bus) receiveHeartbeat(node string, h *header, body []byte) error {
	var beat heartbeat
	if err := json.Unmarshal(body, &beat); err != nil {
		return err
	}
	if len(beat.Tag) > maxTag {
		return errors.New("its tag is too long")
	}
	r := b.members.hear(node, h, &beat)
	b.members.tell()
	if r.declareLost {
		b.declareLost(NodeTopic(node), node, h.Incarnation)
	}
	if !r.fresh {
		return nil
	}
	if r.joined {
		b.logger.Info("node has joined", zap.String("node", node))
		b.beatSoon() // it waits to hear of this one
	}
	if beat.Gap || r.replaced {
		b.tracker.forgetFormer(node, h.Incarnation)
	}
	switch {
	case beat.Gap:
		b.reportGap(All, node, "it has not published all of them")
	case r.replaced:
		b.reportGap(All, node, "it was lost")
	case r.missing:
		b.reportGap(All, node, "the broker has lost a heartbeat")
	}
	b.tracker.expect(node, h.Incarnation, beat.Last)
	return nil
}

// receiveLeave takes the last message of another node.
func (b *Bus) receiveLeave(node string, h *header, body []byte) error {
	var beat heartbeat
	if err := json.Unmarshal(body, &beat); err != nil {
		return err
	}
	if b.members.hearLeave(node, h.Incarnation) {
		b.logger.Info("node has left", zap.String("node", node))
		b.members.tell()
	}
	b.tracker.expect(node, h.Incarnation, beat.Last)
	b.tracker.leave(node, h.Incarnation)
	return nil
}

// A lostNode is the body of kindDeclaredLost.
type lostNode struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
}

func (b *Bus) declareLost(to Topic, node, incarnation string) {
	body, _ := json.Marshal(lostNode{node, incarnation}) // cannot fail
	_ = b.add(to, header{Version: minVersion, Kind: kindDeclaredLost}, body, true)
}

// receiveDeclaredLost takes another node's opinion that a node is lost. If that is this one, it
// takes a new incarnation.
func (b *Bus) receiveDeclaredLost(body []byte) error {
	var lost lostNode
	if err := json.Unmarshal(body, &lost); err != nil {
		return err
	}
	if lost.Node != b.node || !b.members.isDeclaredLost(lost.Incarnation) {
		return nil
	}
	b.logger.Warn("other nodes have declared this one lost: it goes on as a new one")
	b.mu.Lock()
	b.beginLocked(b.connection.Load())
	b.mu.Unlock()
	b.skipped.Store(true) // what was lost of the former incarnation can no longer be told by numbers
	b.members.declaredLost()
	b.members.tell()
	b.beatSoon()
	return nil
}
