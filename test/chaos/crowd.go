package chaos

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A Kind is a group of clients that connect in the same way.
type Kind struct {
	Name      string
	Count     int
	URL       string
	Transport string
	TLS       *tls.Config
}

// The manners of clients are how their events are handled. They are the names of these
// events, too. The arguments are the client's name and the number of the event.
const (
	// A handler in the server acks with the number, if it is the next one.
	Told = "told"
	// A backend handles it: see Backend.
	Asked = "asked:number"
	// The server relays it to the other client of a pair, in their room.
	Chat = "chat:number"
)

// A Crowd is many clients. Each sends numbers, one after the other as they are acked,
// and receives those of publishers.
type Crowd struct {
	Checker    *Checker
	Publishers []*Publisher
	Backend    *Backend // nil: no client's manner is Asked
	Kinds      []Kind
	// Manner returns the manner of client i. Two neighbours of the manner Chat are a pair,
	// if the index of the first is even. Default: Told.
	Manner func(i int) string
	Pace   time.Duration // between two numbers of a client
	// Patience is how long an ack may take.
	Patience time.Duration
	Origin   string
	// Restarts says that the test restarts the server. Connections then end and nobody
	// listens for a while, which is no error.
	Restarts bool
	Backoff  Backoff

	Losses   Timeline // connections that ended
	Returns  Timeline // clients that came back
	Acks     Latency
	Repeats  Repeats
	problems problems

	senders      []*sender
	notRecovered atomic.Int64 // returns of those that were not recovered
	unacked      atomic.Int64 // events whose ack was in flight when the connection was lost
	refused      atomic.Int64 // attempts that failed since the server was being restarted
	opened       sync.WaitGroup

	// turn is read-locked while a client sends and waits for the ack. Pause locks it.
	turn    sync.RWMutex
	ctx     context.Context
	cancel  context.CancelFunc
	talking sync.WaitGroup
}

// problems are errors that clients have seen.
type problems struct {
	mu    sync.Mutex
	count int
	words []string
}

func (p *problems) add(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count++; p.count <= violationsKept {
		p.words = append(p.words, fmt.Sprintf(format, args...))
	}
}

// Problems returns how many errors clients have seen, and descriptions of the first
// ones. A lost connection is an error.
func (c *Crowd) Problems() (count int, words []string) {
	c.problems.mu.Lock()
	defer c.problems.mu.Unlock()
	return c.problems.count, append([]string(nil), c.problems.words...)
}

// Note adds an error that someone else has seen.
func (c *Crowd) Note(format string, args ...any) { c.problems.add(format, args...) }

// connecting is how many clients connect at once.
const connecting = 64

// Connect connects all clients, which begin to send, and returns when each of them is
// connected. It fails at the end of ctx. The caller must call Leave in any case.
func (c *Crowd) Connect(ctx context.Context) error {
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, kind := range c.Kinds {
		for range kind.Count {
			c.senders = append(c.senders, newSender(c, kind, len(c.senders)))
		}
	}
	for i, s := range c.senders {
		if s.manner == Chat {
			s.pair(c.senders[i^1])
		}
	}
	if c.Backend != nil {
		c.Backend.hear(c)
	}
	slots := make(chan struct{}, connecting)
	for i, s := range c.senders {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d clients have connected: %w", i, len(c.senders), context.Cause(ctx))
		}
		s.begin()
		c.opened.Go(func() {
			select {
			case <-s.client.Connected():
			case <-ctx.Done():
			}
			<-slots
		})
	}
	c.opened.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("not all of %d clients have connected: %w", len(c.senders), context.Cause(ctx))
	}
	return nil
}

// Pause waits for the acks in flight. No client sends until Resume is called.
func (c *Crowd) Pause() { c.turn.Lock() }

// Resume ends what Pause began.
func (c *Crowd) Resume() { c.turn.Unlock() }

// Turn runs a function that Pause waits for.
func (c *Crowd) Turn(f func()) {
	c.turn.RLock()
	defer c.turn.RUnlock()
	f()
}

// pollInterval is how often Await looks at its condition. Many clients take part in it,
// so no channel tells.
const pollInterval = 20 * time.Millisecond

// Await waits until a condition holds. It reports false at the end of ctx.
func Await(ctx context.Context, holds func() bool) bool {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return holds()
		}
	}
	return true
}

// Progress waits until every client has got so many acks more.
func (c *Crowd) Progress(ctx context.Context, acks int) error {
	goals := make([]int, len(c.senders))
	for i, s := range c.senders {
		goals[i] = s.source.Acked() + acks
	}
	slow := 0
	if Await(ctx, func() bool {
		for slow < len(goals) && c.senders[slow].source.Acked() >= goals[slow] {
			slow++
		}
		return slow == len(goals)
	}) {
		return nil
	}
	return fmt.Errorf("%s has not had %d more acks: %w", c.senders[slow].name, acks, context.Cause(ctx))
}

// Present returns the number of connected clients.
func (c *Crowd) Present() int {
	n := 0
	for _, s := range c.senders {
		select {
		case <-s.client.Connected():
			n++
		default:
		}
	}
	return n
}

// IDs returns the ids of the connected sockets.
func (c *Crowd) IDs() map[string]bool {
	ids := make(map[string]bool)
	for _, s := range c.senders {
		if id := s.current(); id != "" {
			ids[id] = true
		}
	}
	return ids
}

// AckedEvents returns the number of acked events of all clients.
func (c *Crowd) AckedEvents() int {
	n := 0
	for _, s := range c.senders {
		n += s.source.Acked()
	}
	return n
}

// NotRecovered returns how many times a client returned and was not recovered.
func (c *Crowd) NotRecovered() int { return int(c.notRecovered.Load()) }

// Unacked returns how many events had no ack when their connection was lost.
func (c *Crowd) Unacked() int { return int(c.unacked.Load()) }

// Refused returns how many attempts to connect have failed during a restart.
func (c *Crowd) Refused() int { return int(c.refused.Load()) }

// Stop has the clients stop sending, and waits for the acks in flight.
func (c *Crowd) Stop() {
	c.cancel()
	c.talking.Wait()
}

// Leave stops sending and ends all connections.
func (c *Crowd) Leave() {
	if c.cancel == nil {
		return
	}
	c.Stop()
	var leaving sync.WaitGroup
	for _, s := range c.senders {
		if s.client != nil {
			leaving.Go(s.client.Close)
		}
	}
	leaving.Wait()
}

// Size returns the number of clients.
func (c *Crowd) Size() int {
	n := 0
	for _, kind := range c.Kinds {
		n += kind.Count
	}
	return n
}

// Worst returns the largest bin in multiples of the mean of a number of bins.
func Worst(bins []int, among int) float64 {
	total, most := 0, 0
	for _, n := range bins {
		total += n
		most = max(most, n)
	}
	if total == 0 {
		return math.NaN()
	}
	return float64(most) * float64(among) / float64(total)
}
