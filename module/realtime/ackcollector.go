package realtime

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
	"unsafe"
)

// maxAnswers is how many bytes the answers to one request can take together. answerSize is about
// how many an answer takes besides its arguments.
const (
	maxAnswers = 16 << 20
	answerSize = 2 * int(unsafe.Sizeof(Answer{}))
)

// collectAcks sends the message to at most maxSockets sockets of this node and waits until each of
// their clients has acked it, or ctx ends. The error is ErrSealed or ErrTooManySockets.
func (b Broadcast) collectAcks(ctx context.Context, m *Message, maxSockets int) (answers []Answer, missing []string, err error) {
	m.Ack = b.namespace.acks.Add(1) // one number for all, so that the message is encoded once
	c, err := b.sendRequest(m, maxSockets)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	for _, s := range c.sockets {
		s.forgetAck(m.Ack)
	}
	answers, missing = c.result()
	return answers, missing, nil
}

// CollectLocal sends the event to the sockets of this node, and does not wait. Before, it calls begin
// with their number; afterwards, it calls each with every ack that comes within a time. Neither may
// block or use the hub, and each may be called concurrently. The error is ErrSealed, or says that the
// event is not valid; then neither is called.
func (b Broadcast) CollectLocal(wait time.Duration, begin func(sockets int), each func(Answer), event string, args ...Arg) error {
	b.namespace = b.namespace.current()
	m, err := b.namespace.newMessage(event, args)
	if err != nil {
		return err
	}
	m.Volatile = b.volatile
	m.Ack = b.namespace.acks.Add(1)
	ctx, cancel := context.WithTimeout(b.namespace.hub.ctx, wait)
	c := &ackCollector{done: make(chan struct{}), begin: begin, each: each, cancel: cancel}
	if err := b.deliverRequest(c, m, math.MaxInt); err != nil {
		cancel()
		return err
	}
	context.AfterFunc(ctx, func() {
		for _, s := range c.sockets {
			s.forgetAck(m.Ack)
		}
	})
	return nil
}

// sendRequest delivers the message and returns the collector of its acks.
func (b Broadcast) sendRequest(m *Message, maxSockets int) (*ackCollector, error) {
	c := &ackCollector{done: make(chan struct{})}
	return c, b.deliverRequest(c, m, maxSockets)
}

func (b Broadcast) deliverRequest(c *ackCollector, m *Message, maxSockets int) error {
	defer b.namespace.order.lock(&b.to)()
	if b.namespace.sealed.Load() {
		return ErrSealed
	}
	c.sockets = b.chooseRecipients(nil, m, nil)
	if len(c.sockets) > maxSockets {
		return ErrTooManySockets
	}
	if c.begin != nil {
		c.begin(len(c.sockets))
	}
	c.awaited = len(c.sockets) + 1 // one for this function, so that done closes at its end at the earliest
	for _, s := range c.sockets {
		if s.expectAck(m.Ack, func(args []Arg, err error) { c.add(s, args, err) }) != nil {
			c.countDown()
			continue
		}
		_ = s.conn.Deliver(m, nil) // a client that cannot get it is being disconnected
	}
	c.countDown()
	return nil
}

// An ackCollector collects the clients' acks of one event.
type ackCollector struct {
	sockets []*Socket
	done    chan struct{} // closed when no ack is awaited any more
	begin   func(sockets int)
	each    func(Answer) // gets the answers, if it is not nil, and they are not kept
	cancel  func()       // called when done is closed; may be nil

	mu      sync.Mutex
	awaited int
	size    int // bytes of answers
	answers []Answer
}

func (c *ackCollector) add(s *Socket, args []Arg, err error) {
	defer c.countDown()
	if c.each != nil {
		if err == nil {
			c.each(Answer{s.id, args})
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size := answerSize + sizeOf(args)
	if err != nil || c.size+size > maxAnswers {
		return
	}
	c.size += size
	c.answers = append(c.answers, Answer{s.id, compact(args)})
}

// countDown records that one ack less is awaited.
func (c *ackCollector) countDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaited--; c.awaited == 0 {
		close(c.done)
		if c.cancel != nil {
			c.cancel()
		}
	}
}

func (c *ackCollector) result() (answers []Answer, missing []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	answered := make(map[string]struct{}, len(c.answers))
	for _, a := range c.answers {
		answered[a.Socket] = struct{}{}
	}
	for _, s := range c.sockets {
		if _, ok := answered[s.id]; !ok {
			missing = append(missing, s.id)
		}
	}
	return slices.Clip(c.answers), missing
}
