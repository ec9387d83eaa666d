package realtime

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// ErrLocalOnly means that the sockets of this node have got an event, and those of other nodes will
// not: too much waits for the broker (see Options.BrokerQueue).
var ErrLocalOnly = errors.New("event reached the sockets of this node only: too much waits for the broker")

const (
	// defaultBrokerQueue is the default of Options.BrokerQueue.
	defaultBrokerQueue = 16 << 20

	// A broadcast that the broker refuses is retried, since the broker may be away for a moment.
	// Then it is dropped: the broker may refuse this very broadcast.
	retryPause   = 250 * time.Millisecond
	retryTimeout = 5 * time.Second

	// closeTimeout is how long Hub.Close waits for handlers, and how long for the publisher.
	closeTimeout = 5 * time.Second
)

// outgoingSize is about how many bytes a broadcast takes in the queue besides its payload.
const outgoingSize = 64

// A publisher sends broadcasts to the other nodes, in the order in which they are added. Those to
// one room are added in the order of their delivery on this node. The queue is bounded, and adding
// to it never waits.
//
// A goroutine publishes while the queue is not empty. The method close joins it.
type publisher struct {
	broker      cluster.Broker
	node, topic string
	incarnation string // tells this process from others with the same node name
	limit       int
	logger      *zap.Logger

	ctx    context.Context // of the calls of Publish
	cancel context.CancelFunc

	mu       sync.Mutex
	queue    []outgoing // broadcasts that the goroutine has not taken
	held     int        // bytes, including those that the goroutine has taken
	sequence uint64     // the last number given
	lost     bool       // a broadcast was lost, and the other nodes have not been told
	writing  bool       // the goroutine is running
	closed   bool
	stats    BrokerStats

	writer sync.WaitGroup
}

// An outgoing is a queued broadcast. Without a payload it says that broadcasts were lost.
type outgoing struct {
	payload  []byte // JSON without its end, which finish appends
	sequence uint64
	lost     bool // a broadcast before it was lost
	volatile bool // nobody relies on it
}

// BrokerStats count what a hub has sent to other nodes and received from them.
type BrokerStats struct {
	Queued    int    `json:"queued"`    // bytes that wait for the broker
	Published uint64 `json:"published"` // broadcasts that the broker has taken
	Dropped   uint64 `json:"dropped"`   // broadcasts that were not sent: the queue was full, or the broker refused them
	Gaps      uint64 `json:"gaps"`      // how often broadcasts of other nodes were found missing
}

func newPublisher(broker cluster.Broker, node, topic string, limit int, logger *zap.Logger) *publisher {
	p := &publisher{broker: broker, node: node, topic: topic, incarnation: randid.New()[:8], limit: limit, logger: logger}
	if p.limit <= 0 {
		p.limit = defaultBrokerQueue
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// isAlone reports whether the broker knows that no other node listens.
func (p *publisher) isAlone() bool {
	counter, ok := p.broker.(cluster.ListenerCounter)
	return ok && counter.Listeners(p.topic) <= 1
}

// add queues a broadcast. It does not wait, so the caller may hold a lock that gives the order. The
// error is ErrLocalOnly.
func (p *publisher) add(payload []byte, volatile bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := cap(payload) + outgoingSize
	if p.closed || p.held+size > p.limit && p.held > 0 { // an empty queue takes a broadcast of any size
		p.stats.Dropped++
		if volatile {
			return nil // it may be lost
		}
		p.lost = true
		p.logger.Error("broadcasts are not passed on to other nodes: too much waits for the broker",
			zap.Int("queued", p.held), zap.Uint64("dropped", p.stats.Dropped))
		return ErrLocalOnly
	}
	p.sequence++
	p.queue = append(p.queue, outgoing{payload: payload, sequence: p.sequence, lost: p.lost, volatile: volatile})
	p.lost = false
	p.held += size
	p.start()
	return nil
}

// start starts the goroutine if it is not running. The caller holds the mutex.
func (p *publisher) start() {
	if !p.writing {
		p.writing = true
		p.writer.Go(p.write)
	}
}

// write publishes until the queue is empty.
func (p *publisher) write() {
	var taken []outgoing
	lost := false // the broadcast before
	for {
		if taken = p.take(taken[:0], lost); len(taken) == 0 {
			return
		}
		for i, o := range taken {
			taken[i] = outgoing{}
			o.lost = o.lost || lost
			err := p.publish(o)
			lost = err != nil && (o.lost || !o.volatile)
			p.done(o, err)
		}
	}
}

// take swaps the queue for an empty slice. If it returns none, the goroutine ends.
func (p *publisher) take(empty []outgoing, lost bool) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.queue
	p.queue = empty
	switch {
	case len(taken) > 0:
	case (lost || p.lost) && p.ctx.Err() == nil:
		// No broadcast follows that would tell the other nodes of the loss.
		p.sequence++
		p.lost = false
		taken = append(taken, outgoing{sequence: p.sequence, lost: true})
	default:
		p.queue, p.writing = nil, false
	}
	return taken
}

// publish gives one broadcast to the broker, and retries for a while if that fails. Other nodes
// ignore what they get twice.
func (p *publisher) publish(o outgoing) error {
	e := cluster.Envelope{Node: p.node, Topic: p.topic, Payload: p.finish(o)}
	for since := time.Now(); ; {
		err := p.broker.Publish(p.ctx, e)
		if err == nil || errors.Is(err, cluster.ErrClosed) || o.volatile || time.Since(since) >= retryTimeout {
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-p.ctx.Done():
			return err
		}
	}
}

// finish returns the complete payload.
func (p *publisher) finish(o outgoing) []byte {
	payload := o.payload
	if payload == nil {
		payload = p.begin(kindLost)
	}
	payload = append(payload, `,"seq":`...)
	payload = strconv.AppendUint(payload, o.sequence, 10)
	if o.lost {
		payload = append(payload, `,"lost":true`...)
	}
	return append(payload, '}')
}

// done records the result of publish.
func (p *publisher) done(o outgoing, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, cluster.ErrClosed) { // the rest is lost, too
		p.closed = true
		p.cancel()
	}
	if o.payload == nil {
		return
	}
	p.held -= cap(o.payload) + outgoingSize
	if err == nil {
		p.stats.Published++
		return
	}
	p.stats.Dropped++
	p.logger.Error("broadcasts are not passed on to other nodes: the broker refuses them",
		zap.Uint64("dropped", p.stats.Dropped), zap.Error(err))
}

// close takes no more broadcasts and waits until those in the queue are published, for closeTimeout
// at most.
func (p *publisher) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	stop := time.AfterFunc(closeTimeout, p.cancel)
	defer stop.Stop()
	p.writer.Wait()
	p.cancel()
}

func (p *publisher) currentStats() BrokerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.Queued = p.held
	return stats
}
