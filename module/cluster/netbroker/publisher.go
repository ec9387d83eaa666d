package netbroker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

const (
	// maxUnconfirmed and maxUnconfirmedBytes are how much Publish accepts before the messaging system
	// has taken it.
	maxUnconfirmed      = 1024
	maxUnconfirmedBytes = 4 << 20

	// maxBatch and maxBatchBytes are how much is sent at once. Meanwhile, the next batch gathers.
	maxBatch      = 256
	maxBatchBytes = 1 << 20

	// maxSequences is how many topics the publisher counts before it forgets those that are quiet.
	maxSequences = 1 << 16
)

// errConnecting means that the first attempt to connect has not ended.
var errConnecting = errors.New("connecting")

// A publisher sends envelopes over one connection after the other. What the messaging system has
// not confirmed when a connection is lost is sent again over the next one: subscribers recognize
// what they have got by its sequence number, and by the same number what is missing.
type publisher struct {
	id uint64 // tells this broker from all others

	mu       sync.Mutex
	queue    []Frame // not confirmed; those that are being sent come first
	bytes    int     // of the queue
	away     error   // why there is no connection; nil if there is one
	maxFrame int     // of the connection; 0 for no limit
	closed   bool
	changed  chan struct{} // closed when any of these has changed; nil if nobody waits
	ready    chan struct{} // has a token when there is something to send

	sequences map[string]*sequence // by topic
	highest   uint64               // no sequence number is higher
	recent    []*sequence          // topics whose last envelope is to be repeated
	sweep     int                  // at how many sequences the quiet ones are forgotten
}

// A sequence counts the envelopes of one topic.
type sequence struct {
	topic  string
	last   uint64
	recent bool // it is in recent
	quiet  bool // nothing was published since the last tick
}

func newPublisher() *publisher {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return &publisher{
		id:        binary.BigEndian.Uint64(id[:]),
		away:      errConnecting,
		ready:     make(chan struct{}, 1),
		sequences: make(map[string]*sequence),
		sweep:     maxSequences,
	}
}

// publish queues an envelope. It waits for room, and for the end of the first attempt to connect.
func (p *publisher) publish(ctx context.Context, e cluster.Envelope) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case p.closed:
			return cluster.ErrClosed
		case p.away != nil && !errors.Is(p.away, errConnecting):
			return fmt.Errorf("%w: %w", cluster.ErrUnavailable, p.away)
		case p.away == nil && len(p.queue) < maxUnconfirmed && p.bytes < maxUnconfirmedBytes:
			return p.enqueue(e)
		}
		p.wait(ctx)
	}
}

func (p *publisher) enqueue(e cluster.Envelope) error {
	size := maxFrameHeader + len(e.Node) + len(e.Payload)
	if p.maxFrame > 0 && size > p.maxFrame {
		return fmt.Errorf("the envelope has %d bytes, and the server takes %d at most", size, p.maxFrame)
	}
	s := p.sequences[e.Topic]
	if s == nil {
		if len(p.sequences) >= p.sweep {
			p.forget()
		}
		// If the topic has been forgotten, its numbers go on above those that it has had.
		s = &sequence{topic: e.Topic, last: p.highest}
		p.sequences[e.Topic] = s
	}
	s.last++
	p.highest = max(p.highest, s.last)
	s.quiet = false
	if !s.recent {
		s.recent = true
		p.recent = append(p.recent, s)
	}
	p.send(Frame{e.Topic, appendEnvelope(make([]byte, 0, size), p.id, s.last, e.Node, e.Payload)})
	return nil
}

func (p *publisher) send(f Frame) {
	p.queue = append(p.queue, f)
	p.bytes += len(f.Bytes)
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// forget drops the sequences of quiet topics.
func (p *publisher) forget() {
	for topic, s := range p.sequences {
		if !s.recent {
			delete(p.sequences, topic)
		}
	}
	p.sweep = max(maxSequences, 2*len(p.sequences))
}

// wait waits for a change, or until ctx is done. The caller holds the mutex, which is free
// meanwhile.
func (p *publisher) wait(ctx context.Context) {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-changed:
	case <-ctx.Done():
	}
}

func (p *publisher) change() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// write sends what is queued over conn, until that fails or ctx is done. It returns why.
func (p *publisher) write(ctx context.Context, conn Conn) error {
	for {
		batch := p.batch()
		if len(batch) == 0 {
			select {
			case <-p.ready:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := conn.Publish(ctx, batch); err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		p.confirm(len(batch))
	}
}

// batch returns the first frames of the queue, which stay in it.
func (p *publisher) batch() []Frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, bytes := 0, 0
	for n < len(p.queue) && n < maxBatch && bytes < maxBatchBytes {
		bytes += len(p.queue[n].Bytes)
		n++
	}
	return p.queue[:n:n]
}

// confirm removes the first n frames.
func (p *publisher) confirm(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		p.bytes -= len(p.queue[i].Bytes)
	}
	p.queue = slices.Delete(p.queue, 0, n)
	p.change()
}

// tick is called every second or so. To topics on which nothing has been published since the last
// tick, it sends the number of the last envelope.
func (p *publisher) tick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent = slices.DeleteFunc(p.recent, func(s *sequence) bool {
		if !s.quiet || len(p.queue) >= maxUnconfirmed {
			s.quiet = true
			return false
		}
		p.send(Frame{s.topic, appendTail(nil, p.id, s.last)})
		s.recent = false
		return true
	})
}

// connected says that write is about to run.
func (p *publisher) connected(maxFrame int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away, p.maxFrame = nil, maxFrame
	p.change()
}

// lost says that there is no connection, and why.
func (p *publisher) lost(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = why
	p.change()
}

// close accepts nothing any more. It waits until what it has accepted is confirmed, unless there is
// no connection or ctx is done.
func (p *publisher) close(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.change()
	for len(p.queue) > 0 && p.away == nil && ctx.Err() == nil {
		p.wait(ctx)
	}
}

// health returns why there is no connection; nil if there is one.
func (p *publisher) health() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.away
}
