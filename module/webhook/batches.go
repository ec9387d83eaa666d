package webhook

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// DefaultBatch is how many messages a batch has at most, unless something else is written.
const DefaultBatch = 100

const (
	maxBatchBytes = 1_000_000 // of a batch's messages

	// onTheWay is for how long a request has others wait at most. It may be about a slow
	// event.
	onTheWay = 5 * time.Millisecond
)

// batches gather the messages that come while a request is on its way to the backend, and
// send them in one request. When it is quiet, a message is sent at once, in a request of its
// own, as it is without batches.
//
// A request is on its way until the first of its messages has been answered, and for 5 ms at
// most. All messages of a batch are about clients that have used the same host and scheme,
// since the request has these.
//
// All methods may be called concurrently.
type batches struct {
	handler *Handler
	most    int // messages of a batch

	mu      sync.Mutex
	sites   map[site]*gathering
	spare   *gathering    // one that is in use no more; nil: none
	trips   trip          // how many there have been
	ready   chan *batch   // idle goroutines receive from it
	idle    int           // of those running
	running int           // goroutines that send batches
	ended   chan struct{} // closed when none is running any more; nil: nobody waits for it
}

// A site is where clients have connected to.
type site struct {
	host   string
	secure bool
}

func siteOf(peer realtime.Peer) site { return site{peer.Host, peer.Secure} }

// A gathering has the messages about clients of a site that wait. Its fields are guarded by
// the mutex of batches.
type gathering struct {
	site    site
	waiting []*batched
	size    int  // bytes of those waiting
	trip    trip // the request on its way; 0: none
	began   time.Time
	timer   *time.Timer
	armed   bool // timer is
}

// A trip is the number of a request on its way.
type trip uint64

func newBatches(b *Handler, most int) *batches {
	return &batches{handler: b, most: most, sites: make(map[site]*gathering), ready: make(chan *batch)}
}

// send makes one attempt. It returns when the message itself has been answered.
func (b *batches) send(ctx context.Context, r *request, attempt int) (*reply, error) {
	done := make(outcomes, 1)
	m := &batched{request: r, attempt: attempt, asker: done, ctx: ctx}
	if t := b.enter(m); t != 0 {
		defer b.startNext(m.gathering, t)
		return b.handler.sendAlone(ctx, r, attempt)
	}
	select {
	case o := <-done:
		return o.reply, o.err
	case <-ctx.Done():
	}
	o, left := b.leave(m, context.Cause(ctx))
	if !left {
		o = <-done
	}
	return o.reply, o.err
}

// enter has a message wait. If it can be sent at once, it does not wait: the caller sends it, on
// the trip that is not 0 then, and calls startNext after that.
func (b *batches) enter(m *batched) trip {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.at(siteOf(m.request.peer))
	m.gathering = g
	if g.arrived() && len(g.waiting) == 0 {
		return b.depart(g)
	}
	b.enterLocked(m)
	return 0
}

// enterLocked has a message wait. The caller holds the mutex, and has set the gathering.
func (b *batches) enterLocked(m *batched) {
	g := m.gathering
	g.waiting = append(g.waiting, m)
	g.size += m.size()
	if len(g.waiting) >= b.most || g.size >= maxBatchBytes {
		g.trip = 0 // nothing is gained by waiting for it
	}
	b.startLocked(b.next(g))
}

// at returns what gathers at a site. The caller holds the mutex.
func (b *batches) at(s site) *gathering {
	g := b.sites[s]
	if g != nil {
		return g
	}
	if g, b.spare = b.spare, nil; g == nil {
		g = new(gathering)
	}
	g.site = s
	b.sites[s] = g
	return g
}

// depart notes that a request is on its way from now on. The caller holds the mutex.
func (b *batches) depart(g *gathering) trip {
	b.trips++
	g.trip, g.began = b.trips, time.Now()
	return g.trip
}

// arrived reports whether no request is on its way.
func (g *gathering) arrived() bool {
	if g.trip != 0 && time.Since(g.began) >= onTheWay {
		g.trip = 0
	}
	return g.trip == 0
}

// over says that a request is not on its way any more. The result is the next batch, which
// the caller must send; nil if there is none.
func (b *batches) over(g *gathering, t trip) *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.overLocked(g, t)
}

func (b *batches) overLocked(g *gathering, t trip) *batch {
	if g.trip != t {
		return nil
	}
	g.trip = 0
	return b.next(g)
}

// next returns what is to be sent now, if messages wait and no request is on its way. The caller
// holds the mutex.
func (b *batches) next(g *gathering) *batch {
	arrived := g.arrived()
	switch {
	case len(g.waiting) == 0:
		if arrived {
			delete(b.sites, g.site)
			if !g.armed {
				b.spare = g
			}
		}
		return nil
	case !arrived:
		b.wake(g, time.Until(g.began.Add(onTheWay)))
		return nil
	}
	if left := b.handler.pause.left(); left > 0 {
		b.wake(g, left)
		return nil
	}
	messages := g.take(b.most)
	if len(messages) == 0 {
		return b.next(g) // nothing waits any more
	}
	b.depart(g)
	if len(g.waiting) > 0 {
		b.wake(g, onTheWay)
	}
	return newBatch(g, messages, b.handler.options.Meter)
}

// take removes the first messages, as many as a batch can have, and those whose time is over.
func (g *gathering) take(most int) []*batched {
	g.waiting = slices.DeleteFunc(g.waiting, func(m *batched) bool {
		over := m.ctx.Err() != nil
		if over {
			g.size -= m.size()
		}
		return over
	})
	n, size := 0, 0
	for n < min(len(g.waiting), most) && (n == 0 || size+g.waiting[n].size() <= maxBatchBytes) {
		size += g.waiting[n].size()
		n++
	}
	first := g.waiting[:n:n]
	if g.waiting = g.waiting[n:]; len(g.waiting) == 0 {
		g.waiting = nil
	}
	g.size -= size
	return first
}

// wake has next called after some time, or earlier. The caller holds the mutex.
func (b *batches) wake(g *gathering, after time.Duration) {
	switch {
	case g.armed:
	case g.timer == nil:
		g.timer = time.AfterFunc(after, func() { b.tick(g) })
	default:
		g.timer.Reset(after)
	}
	g.armed = true
}

func (b *batches) tick(g *gathering) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g.armed = false
	if b.sites[g.site] == g {
		b.startLocked(b.next(g))
	}
}

// leave ends the wait of a message whose time is over. It reports false if the message has been
// answered.
func (b *batches) leave(m *batched, cause error) (o outcome, ok bool) {
	b.mu.Lock()
	in, g := m.in, m.gathering
	m.gone = true
	if in == nil && g != nil {
		if i := slices.Index(g.waiting, m); i >= 0 {
			g.waiting = slices.Delete(g.waiting, i, i+1)
			g.size -= m.size()
			b.startLocked(b.next(g))
		}
	}
	b.mu.Unlock()
	if in != nil {
		return in.leave(m, cause)
	}
	return outcome{err: &failure{sentNo, fmt.Errorf("waiting for a batch: %w", cause)}}, true
}

// startNext says that a request is not on its way any more, and begins to send the next batch.
func (b *batches) startNext(g *gathering, t trip) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.startLocked(b.overLocked(g, t))
}

// startLocked begins to send a batch. It may be nil. The caller holds the mutex.
func (b *batches) startLocked(next *batch) {
	if next == nil {
		return
	}
	select {
	case b.ready <- next:
	default:
		b.running++
		go b.run(next) // joined by wait
	}
}

// maxIdle is how many goroutines wait for another batch: a request needs a deep stack, and
// growing a new one costs more than to gather.
const maxIdle = 4

// run sends batches, until there is none and enough others wait for one.
func (b *batches) run(next *batch) {
	for next != nil {
		g, t := next.gathering, next.trip
		b.post(next)
		b.gatherMore(g)
		if next = b.over(g, t); next == nil {
			next = b.await()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running--; b.running == 0 && b.ended != nil {
		close(b.ended)
		b.ended = nil
	}
}

// gatherMore lets messages come that are about to: clients that have their acks now may have sent
// the next events already. If nothing else is to do, it returns at once.
func (b *batches) gatherMore(g *gathering) {
	for before := -1; ; {
		b.mu.Lock()
		n := len(g.waiting)
		b.mu.Unlock()
		if n <= before || n >= b.most {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// await waits for a batch. It returns nil if the goroutine is to end.
func (b *batches) await() *batch {
	if !b.addIdle(1) {
		return nil
	}
	defer b.addIdle(-1)
	select {
	case next := <-b.ready:
		return next
	case <-b.handler.deliveries.ctx.Done(): // the queue has left the backend
		return nil
	}
}

// addIdle reports false if there are as many as there may be.
func (b *batches) addIdle(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.idle+n > maxIdle {
		return false
	}
	b.idle += n
	return true
}

// post sends a batch, and gives its messages their answers. A message that is alone has a request
// of its own.
func (b *batches) post(m *batch) {
	h := b.handler
	if only := m.messages[0]; len(m.messages) == 1 {
		r, err := h.sendOnce(m.ctx, only.request, only.attempt)
		m.settle(only, r, err)
		m.close()
		return
	}
	at := time.Now()
	a := &batchAnswer{batches: b, batch: m}
	peer := realtime.Peer{Host: m.site.host, Secure: m.site.secure}
	err := h.post(withPeer(m.ctx, peer), &post{id: newMessageID(), at: at, body: m.body(at), peer: peer}, a.begin)
	h.options.Meter.countBatch(at, err != nil || a.reply.status >= 500)
	if !m.close() {
		h.notices.write(typeBatch, []string{"it goes on after the last line"})
	}
	a.end(err)
	m.close()
}

// wait returns when no batch is being sent, or ctx ends. The queue must have left the backend.
func (b *batches) wait(ctx context.Context) {
	b.mu.Lock()
	if b.running == 0 {
		b.mu.Unlock()
		return
	}
	if b.ended == nil {
		b.ended = make(chan struct{})
	}
	ended := b.ended
	b.mu.Unlock()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
