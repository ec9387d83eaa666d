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

// ErrLocalOnly says that the sockets of this node have got an event, and those
// of the other nodes will not: more than Options.BrokerQueue waits for the broker.
var ErrLocalOnly = errors.New("event has reached this node only: too much waits for the broker to be passed on to the other nodes")

const (
	// DefaultBrokerQueue is how many bytes may wait for the broker where the
	// options do not say.
	DefaultBrokerQueue = 16 << 20

	// A broadcast that the broker refuses is tried again, since it may be away for
	// a moment; then it is given up, since it may be what the broker refuses.
	publishPause    = 250 * time.Millisecond
	publishPatience = 5 * time.Second

	// closePatience is how long Close waits for what is still to be passed on.
	closePatience = 5 * time.Second
)

// outgoingSize is about what a broadcast takes in the queue beside its payload.
const outgoingSize = 64

// A publisher passes broadcasts on to the other nodes, in the order in which it
// gets them: those to one room come in the order in which they are delivered here.
// What waits for the broker is bounded. Nobody who adds something waits.
//
// There is a goroutine while something waits. Close joins it.
type publisher struct {
	broker      cluster.Broker
	node, topic string
	incarnation string // tells this process from others that have, or had, the node's name
	limit       int
	logger      *zap.Logger

	life context.Context // of the calls to Publish
	end  context.CancelFunc

	mu       sync.Mutex
	queue    []outgoing // what the goroutine has not taken
	held     int        // bytes, with what the goroutine has taken
	sequence uint64     // the last number given
	lost     bool       // something was, and the other nodes have not been told
	writing  bool       // the goroutine is there
	closed   bool
	stats    BrokerStats

	writer sync.WaitGroup
}

// outgoing is a broadcast, or, without a payload, that others have been lost.
type outgoing struct {
	payload  []byte // JSON but for its end, which tail appends
	sequence uint64
	lost     bool // what was lost came before it
	volatile bool // nobody relies on it
}

// BrokerStats are figures of what a hub has passed on to other nodes, and got from them.
type BrokerStats struct {
	Queued    int    `json:"queued"`    // bytes that wait for the broker
	Published uint64 `json:"published"` // broadcasts that the broker has taken
	Dropped   uint64 `json:"dropped"`   // broadcasts that other nodes did not get: the queue was full, or the broker refused them
	Gaps      uint64 `json:"gaps"`      // how often broadcasts of other nodes were missing
}

func newPublisher(broker cluster.Broker, node, topic string, limit int, logger *zap.Logger) *publisher {
	p := &publisher{broker: broker, node: node, topic: topic, incarnation: randid.New()[:8], limit: limit, logger: logger}
	if p.limit <= 0 {
		p.limit = DefaultBrokerQueue
	}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// alone reports whether the broker knows that no other node listens.
func (p *publisher) alone() bool {
	audience, ok := p.broker.(cluster.ListenerCounter)
	return ok && audience.Listeners(p.topic) <= 1
}

// add has a broadcast passed on. It waits for nothing, so that the order of what
// it adds can be that of a lock. The error is ErrLocalOnly.
func (p *publisher) add(payload []byte, volatile bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	size := cap(payload) + outgoingSize
	if p.closed || p.held+size > p.limit && p.held > 0 { // one of any size passes where nothing waits
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

// start has the goroutine there. The caller holds the mutex.
func (p *publisher) start() {
	if !p.writing {
		p.writing = true
		p.writer.Go(p.write)
	}
}

// write publishes until nothing is left.
func (p *publisher) write() {
	var taken []outgoing
	lost := false // the one before was
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

// take swaps the queue for an empty one. It returns none when nothing is left to
// do; the goroutine ends then.
func (p *publisher) take(empty []outgoing, lost bool) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.queue
	p.queue = empty
	switch {
	case len(taken) > 0:
	case (lost || p.lost) && p.life.Err() == nil:
		// Nothing comes behind what was lost that would tell.
		p.sequence++
		p.lost = false
		taken = append(taken, outgoing{sequence: p.sequence, lost: true})
	default:
		p.queue, p.writing = nil, false
	}
	return taken
}

// publish hands one over to the broker, and tries again for a while where that
// fails. The other nodes ignore what they get twice.
func (p *publisher) publish(o outgoing) error {
	e := cluster.Envelope{Node: p.node, Topic: p.topic, Payload: p.whole(o)}
	for since := time.Now(); ; {
		err := p.broker.Publish(p.life, e)
		if err == nil || errors.Is(err, cluster.ErrClosed) || o.volatile || time.Since(since) >= publishPatience {
			return err
		}
		select {
		case <-time.After(publishPause):
		case <-p.life.Done():
			return err
		}
	}
}

// whole returns the payload with its end.
func (p *publisher) whole(o outgoing) []byte {
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

// done notes what has become of one.
func (p *publisher) done(o outgoing, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, cluster.ErrClosed) { // so is the rest lost
		p.closed = true
		p.end()
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
	p.logger.Error("broadcasts are not passed on to other nodes: the broker refuses them", zap.Uint64("dropped", p.stats.Dropped), zap.Error(err))
}

// close passes on what waits, for as long as closePatience allows, and takes
// nothing more.
func (p *publisher) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	stop := time.AfterFunc(closePatience, p.end)
	defer stop.Stop()
	p.writer.Wait()
	p.end()
}

// figures returns what has been passed on.
func (p *publisher) figures() BrokerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.Queued = p.held
	return stats
}
