package redisadapter

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// maxAcks is how many acks of one request are kept, and maxAckBytes how many bytes of them.
const (
	maxAcks     = 100_000
	maxAckBytes = 8 << 20
)

// pendingRequests are the requests of this node whose answers are awaited. The zero value has none.
type pendingRequests struct {
	mu  sync.Mutex
	all map[string]*pendingRequest // by their ids
}

// A pendingRequest has the answers that have come so far. All but done is guarded by the mutex of
// pendingRequests.
type pendingRequest struct {
	kind     kind
	servers  int // that have not answered
	sockets  []socket
	awaited  int // acks that have not come
	answers  []realtime.Answer
	bytes    int
	complete bool
	done     chan struct{} // closed when nothing is awaited any more
	over     bool          // done is closed
}

// add adds a request that so many servers answer.
func (p *pendingRequests) add(k kind, servers int) (id string, r *pendingRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = make(map[string]*pendingRequest)
	}
	id = randid.New()
	r = &pendingRequest{kind: k, servers: servers, done: make(chan struct{})}
	p.all[id] = r
	return id, r
}

// take adds an answer. Redis is not trusted: one that nobody waits for is ignored.
func (p *pendingRequests) take(answer *response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.all[answer.id]
	if r == nil || r.over {
		return
	}
	switch {
	case r.kind == fetchSockets && answer.kind == 0 && answer.sockets != nil:
		r.servers--
		r.sockets = append(r.sockets, answer.sockets...)
	case r.kind == broadcastWithAck && answer.kind == clientCount:
		r.servers--
		r.awaited += answer.clientCount
	case r.kind == broadcastWithAck && answer.kind == clientAck:
		r.awaited--
		r.keep(answer.ack)
	default:
		return
	}
	if r.servers <= 0 && r.awaited <= 0 {
		r.end(len(r.answers) <= maxAcks && r.bytes <= maxAckBytes)
	}
}

// keep keeps an ack, which has one argument or none.
func (r *pendingRequest) keep(ack realtime.Arg) {
	r.bytes += len(ack.JSON)
	for _, part := range ack.Binary {
		r.bytes += len(part)
	}
	if len(r.answers) >= maxAcks || r.bytes > maxAckBytes {
		r.bytes = maxAckBytes + 1 // it is not complete
		return
	}
	var a realtime.Answer
	if len(ack.JSON) > 0 {
		a.Args = []realtime.Arg{ack}
	}
	r.answers = append(r.answers, a)
}

func (r *pendingRequest) end(complete bool) {
	if !r.over {
		r.over, r.complete = true, complete
		close(r.done)
	}
}

// fail ends all requests.
func (p *pendingRequests) fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.all {
		r.end(false)
	}
}

// wait waits until nothing is awaited any more, or ctx is done. Afterwards, nothing changes r.
func (p *pendingRequests) wait(ctx context.Context, id string, r *pendingRequest) {
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, id)
	r.end(false)
}

// handleResponse takes an answer to a request of this node.
func (a *Adapter) handleResponse(message []byte) error {
	if !a.requests.any() {
		return nil // it is for another server
	}
	answer, err := parseResponse(message)
	if err != nil {
		return err
	}
	a.requests.take(&answer)
	return nil
}

// any reports whether any answer is awaited.
func (p *pendingRequests) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.all) > 0
}

// ask publishes a request and waits until all other servers have answered, or ctx is done. The result
// is nil if there is no connection.
func (a *Adapter) ask(ctx context.Context, namespace string, k kind, encode func(id string) []byte) *pendingRequest {
	conn := a.current()
	if conn == nil {
		return nil
	}
	c := a.channels[namespace]
	servers, err := conn.Subscribers(ctx, c.requests)
	if err != nil {
		return nil
	}
	if servers--; servers <= 0 {
		return &pendingRequest{complete: true}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id, r := a.requests.add(k, servers)
	if !a.publish(c.requests, encode(id)) || a.current() != conn {
		cancel()
	}
	a.requests.wait(ctx, id, r)
	return r
}

// timeLeft returns how long ctx is not done.
func timeLeft(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return longestWait
}
