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

// A Kind is some of a crowd's clients that connect in the same way.
type Kind struct {
	Name      string
	Count     int
	URL       string
	Transport string
	TLS       *tls.Config
}

// Manners are how events are handled that clients send, and so what they are
// called. Each has a client's name and its number of the event for arguments.
const (
	// Told is handled by a handler of the test inside the server, which acks with
	// the number if it is the one that is due.
	Told = "told"
	// Asked is handled by a backend: see Backend.
	Asked = "asked:number"
	// Chat is relayed to the other one of a pair, in a room of theirs.
	Chat = "chat:number"
)

// A Crowd is many clients, each of which says numbers, the next one when the last
// one has been acked, and hears those of publishers.
type Crowd struct {
	Checker    *Checker
	Publishers []*Publisher
	Backend    *Backend // nil: no client's manner is Asked
	Kinds      []Kind
	// Manner is that of each client; two neighbours of the manner Chat, the first
	// one with an even index, are a pair. Default Told.
	Manner func(i int) string
	Pace   time.Duration // between two numbers of a client
	// Patience is how long an ack may take.
	Patience time.Duration
	Origin   string
	// Restarts says that the server is restarted: then connections end, and nobody
	// listens for a while, which is no problem of theirs.
	Restarts bool
	Backoff  Backoff

	Losses   Timeline // connections that ended
	Returns  Timeline // clients that came back
	Acks     Latency
	Repeats  Repeats
	problems problems

	speakers []*speaker
	anew     atomic.Int64 // returns of those that were not recovered
	torn     atomic.Int64 // events whose ack was in flight when the connection was lost
	refused  atomic.Int64 // attempts that failed since the server was being restarted
	opened   sync.WaitGroup

	// turn is held by whoever says something, and by Pause.
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

// Problems returns how many errors clients have seen, connections that were lost
// among them, and the first ones in words.
func (c *Crowd) Problems() (count int, words []string) {
	c.problems.mu.Lock()
	defer c.problems.mu.Unlock()
	return c.problems.count, append([]string(nil), c.problems.words...)
}

// Note adds an error that somebody else has seen.
func (c *Crowd) Note(format string, args ...any) { c.problems.add(format, args...) }

// connecting bounds how many clients connect at once.
const connecting = 64

// Gather connects all clients, which begin to talk, and returns when each of them is
// connected. It fails at the end of ctx. The caller must call Leave in any case.
func (c *Crowd) Gather(ctx context.Context) error {
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, kind := range c.Kinds {
		for range kind.Count {
			c.speakers = append(c.speakers, newSpeaker(c, kind, len(c.speakers)))
		}
	}
	for i, s := range c.speakers {
		if s.manner == Chat {
			s.pair(c.speakers[i^1])
		}
	}
	if c.Backend != nil {
		c.Backend.hear(c)
	}
	slots := make(chan struct{}, connecting)
	for i, s := range c.speakers {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d clients have connected: %w", i, len(c.speakers), context.Cause(ctx))
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
		return fmt.Errorf("not all of %d clients have connected: %w", len(c.speakers), context.Cause(ctx))
	}
	return nil
}

// Pause returns when nobody waits for an ack; from then on nobody says anything
// until Resume is called.
func (c *Crowd) Pause() { c.turn.Lock() }

// Resume ends what Pause began.
func (c *Crowd) Resume() { c.turn.Unlock() }

// Turn runs a function that Pause waits for.
func (c *Crowd) Turn(f func()) {
	c.turn.RLock()
	defer c.turn.RUnlock()
	f()
}

// look is how often it is looked whether something has happened that many clients
// have a part in, and so no channel tells.
const look = 20 * time.Millisecond

// Await waits until a condition holds, and reports false if it does not until the
// end of ctx.
func Await(ctx context.Context, holds func() bool) bool {
	ticker := time.NewTicker(look)
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

// Progress waits until every client has had some more acks.
func (c *Crowd) Progress(ctx context.Context, acks int) error {
	goals := make([]int, len(c.speakers))
	for i, s := range c.speakers {
		goals[i] = s.source.Acked() + acks
	}
	slow := 0
	if Await(ctx, func() bool {
		for slow < len(goals) && c.speakers[slow].source.Acked() >= goals[slow] {
			slow++
		}
		return slow == len(goals)
	}) {
		return nil
	}
	return fmt.Errorf("%s has not had %d more acks: %w", c.speakers[slow].name, acks, context.Cause(ctx))
}

// Present returns how many clients are connected.
func (c *Crowd) Present() int {
	n := 0
	for _, s := range c.speakers {
		select {
		case <-s.client.Connected():
			n++
		default:
		}
	}
	return n
}

// IDs returns the ids of the sockets that are connected.
func (c *Crowd) IDs() map[string]bool {
	ids := make(map[string]bool)
	for _, s := range c.speakers {
		if id := s.current(); id != "" {
			ids[id] = true
		}
	}
	return ids
}

// Said returns how many numbers of clients have been acked.
func (c *Crowd) Said() int {
	n := 0
	for _, s := range c.speakers {
		n += s.source.Acked()
	}
	return n
}

// Anew returns how many returns were of clients that were not recovered.
func (c *Crowd) Anew() int { return int(c.anew.Load()) }

// Torn returns how many events had no ack when a connection was lost.
func (c *Crowd) Torn() int { return int(c.torn.Load()) }

// Refused returns how many attempts to connect failed since the server was being
// restarted.
func (c *Crowd) Refused() int { return int(c.refused.Load()) }

// Hush ends all talk, and waits for the acks in flight.
func (c *Crowd) Hush() {
	c.cancel()
	c.talking.Wait()
}

// Leave ends all talk and all connections.
func (c *Crowd) Leave() {
	if c.cancel == nil {
		return
	}
	c.Hush()
	var leaving sync.WaitGroup
	for _, s := range c.speakers {
		if s.client != nil {
			leaving.Go(s.client.Close)
		}
	}
	leaving.Wait()
}

// Size returns how many clients the crowd is to have.
func (c *Crowd) Size() int {
	n := 0
	for _, kind := range c.Kinds {
		n += kind.Count
	}
	return n
}

// Worst returns the bin with the most, in multiples of the mean of a number of bins.
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
