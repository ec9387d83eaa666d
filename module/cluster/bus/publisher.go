package bus

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// ErrQueueFull means that a message was not queued, since too much waits for the broker, or that
// the bus is closed.
var ErrQueueFull = errors.New("too much waits for the broker")

const (
	// defaultQueueBytes is the default of Options.QueueBytes.
	defaultQueueBytes = 16 << 20

	// A message that the broker refuses is retried, since the broker may be away for a moment. Then
	// it is dropped: the broker may refuse this very message. While the broker is known to be away,
	// the message waits.
	firstRetry   = 100 * time.Millisecond
	longestRetry = time.Second
	retryTimeout = 5 * time.Second

	// closeTimeout is how long Close waits for the queue to be published.
	closeTimeout = 5 * time.Second
)

// outgoingSize is about how many bytes a message takes in the queue besides its payload.
const outgoingSize = 96

// A publisher sends messages to other nodes, in the order in which they are added. The queue is
// bounded, and adding to it never waits.
//
// A goroutine publishes while the queue is not empty. The method close joins it.
type publisher struct {
	broker  cluster.Broker
	names   names
	node    string
	limit   int
	logger  *zap.Logger
	retries func() bool // whether to retry a message that has been refused for retryTimeout

	ctx    context.Context // of the calls of Publish
	cancel context.CancelFunc

	mu          sync.Mutex
	incarnation string
	topics      map[Topic]*outTopic
	floor       uint64                 // the last number given in topics that have been dropped
	untold      []*outTopic            // whose lost is set
	recent      map[*outTopic]struct{} // published to since the last heartbeat
	queue       []outgoing             // messages that the goroutine has not taken
	held        int                    // bytes, including those that the goroutine has taken
	writing     bool                   // the goroutine is running
	closed      bool
	beats       uint64 // how many heartbeats there have been
	stats       publisherStats

	writer sync.WaitGroup
}

type publisherStats struct{ published, dropped uint64 }

// An outTopic is the state of one topic that this node publishes to.
type outTopic struct {
	topic Topic
	name  string // the broker's

	sequence uint64 // the last number given
	done     uint64 // the last number whose message has been published or given up
	lost     uint64 // the last number whose message was lost, until another message tells; 0 if there is none
	beat     uint64 // how many heartbeats there had been when the last number was given
}

// An outgoing is a message in the queue.
type outgoing struct {
	to       *outTopic
	payload  []byte
	size     int // what it counts in the queue; 0 for a message that only says that others were lost
	sequence uint64
	volatile bool // nobody relies on it
}

func newPublisher(broker cluster.Broker, names names, node string, limit int, logger *zap.Logger) *publisher {
	p := &publisher{
		broker:  broker,
		names:   names,
		node:    node,
		limit:   limit,
		logger:  logger,
		retries: func() bool { return false },
	}
	if p.limit <= 0 {
		p.limit = defaultQueueBytes
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// begin starts an incarnation, whose numbers begin at 1.
func (p *publisher) begin(incarnation string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.incarnation = incarnation
	p.floor = 0
	p.topics, p.untold, p.recent = make(map[Topic]*outTopic), nil, make(map[*outTopic]struct{})
}

// add queues a message. It does not wait, so the caller may hold a lock that gives the order. The
// error is ErrQueueFull.
func (p *publisher) add(to Topic, h header, body []byte, volatile bool) (Stamp, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topic(to)
	t.beat = p.beats
	h.Incarnation, h.Sequence = p.incarnation, t.sequence+1
	stamp := Stamp{to, h.Incarnation, h.Sequence}
	size := len(body) + outgoingSize
	if p.closed || p.held+size > p.limit && p.held > 0 { // an empty queue takes a message of any size
		p.stats.dropped++
		if volatile {
			return stamp, nil // it may be lost
		}
		t.sequence++
		p.lose(t, t.sequence)
		p.logger.Error("broadcasts are not passed on to other nodes: too much waits for the broker",
			zap.Int("queued", p.held), zap.Uint64("dropped", p.stats.dropped))
		return stamp, ErrQueueFull
	}
	t.sequence++
	t.lost = 0 // the numbers tell
	payload := append(h.append(make([]byte, 0, 128+len(h.Error)+len(body))), body...)
	p.queue = append(p.queue, outgoing{t, payload, size, t.sequence, volatile})
	p.held += size
	p.start()
	return stamp, nil
}

// topic returns the state of a topic. The caller holds the mutex.
func (p *publisher) topic(to Topic) *outTopic {
	t := p.topics[to]
	if t == nil {
		if len(p.topics) >= Shards+2*maxMembers {
			p.forgetNodes()
		}
		t = &outTopic{topic: to, name: p.names.of(to)}
		if to.IsNode() {
			t.sequence, t.done = p.floor, p.floor
		}
		p.topics[to] = t
	}
	return t
}

// forgetNodes drops the states of the nodes' topics, of which there have been many. The numbers go
// on from the highest: those that still live find a gap, and take no new message for an old one.
func (p *publisher) forgetNodes() {
	for topic, t := range p.topics {
		if topic.IsNode() {
			p.floor = max(p.floor, t.sequence)
			delete(p.topics, topic)
		}
	}
}

// lose records that a message was lost. The caller holds the mutex.
func (p *publisher) lose(t *outTopic, sequence uint64) {
	if t.lost == 0 {
		p.untold = append(p.untold, t)
	}
	t.lost = sequence
	if !p.closed {
		p.start()
	}
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
	for {
		if taken = p.take(taken[:0]); len(taken) == 0 {
			return
		}
		for i, o := range taken {
			taken[i] = outgoing{}
			p.finish(o, p.publish(o))
		}
	}
}

// take swaps the queue for an empty slice. If it returns none, the goroutine ends.
func (p *publisher) take(empty []outgoing) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.queue
	p.queue = empty
	if len(taken) > 0 {
		return taken
	}
	if p.ctx.Err() == nil {
		// No message follows that would tell of the loss by its number.
		for _, t := range p.untold {
			if t.lost != 0 {
				h := header{Version: minVersion, Kind: kindLost, Incarnation: p.incarnation, Sequence: t.lost}
				taken = append(taken, outgoing{to: t, payload: h.append(nil), sequence: t.lost, volatile: true})
				t.lost = 0
			}
		}
	}
	p.untold = nil
	if len(taken) == 0 {
		p.queue, p.writing = nil, false
	}
	return taken
}

// publish gives one message to the broker, and retries for a while if that fails. Other nodes
// ignore what they get twice.
func (p *publisher) publish(o outgoing) error {
	e := cluster.Envelope{Node: p.node, Topic: o.to.name, Payload: o.payload}
	pause := firstRetry
	for since := time.Now(); ; {
		err := p.broker.Publish(p.ctx, e)
		if err == nil || errors.Is(err, cluster.ErrClosed) || o.volatile || time.Since(since) >= retryTimeout && !p.retries() {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)/2):
		case <-p.ctx.Done():
			return err
		}
		pause = min(2*pause, longestRetry)
	}
}

// finish records the result of publish.
func (p *publisher) finish(o outgoing, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, cluster.ErrClosed) { // the rest is lost, too
		p.closed = true
		p.cancel()
	}
	if p.topics[o.to.topic] == o.to { // not of an earlier incarnation
		o.to.done = max(o.to.done, o.sequence)
		p.recent[o.to] = struct{}{}
	}
	if o.size == 0 {
		return
	}
	p.held -= o.size
	if err == nil {
		p.stats.published++
		return
	}
	p.stats.dropped++
	if !o.volatile && o.sequence == o.to.sequence {
		p.lose(o.to, o.sequence)
	}
	p.logger.Error("broadcasts are not passed on to other nodes: the broker refuses them",
		zap.Uint64("dropped", p.stats.dropped), zap.Error(err))
}

// last is called before each heartbeat. It returns the incarnation, and the last number of each topic
// published to since the numbers that told was called with.
func (p *publisher) last() (incarnation string, last map[Topic]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats++
	last = make(map[Topic]uint64, len(p.recent))
	for t := range p.recent {
		last[t.topic] = t.done
	}
	return p.incarnation, last
}

// told records that a heartbeat with numbers of last has been published.
func (p *publisher) told(last map[Topic]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for topic, number := range last {
		if t := p.topics[topic]; t != nil && t.done == number {
			delete(p.recent, t)
		}
	}
}

// flush takes no more messages and waits until those in the queue are published, for closeTimeout
// at most.
func (p *publisher) flush() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	stop := time.AfterFunc(closeTimeout, p.cancel)
	defer stop.Stop()
	p.writer.Wait()
}

// queued returns how many bytes wait, and the counts.
func (p *publisher) queued() (bytes int, stats publisherStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held, p.stats
}
