package replica

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

const (
	// maxWaiting is how many bytes may wait for the broker when a further piece is added. What is
	// left of the changes waits in the table, and not in the queue, in which broadcasts wait, too.
	maxWaiting = 1 << 20

	// pieceKeys is how many changed keys are looked at together.
	pieceKeys = 256
)

// A source is what a node has told others of its own table: of each entry, only its digest. It holds
// nothing while there is nobody to tell.
type source[K comparable] struct {
	mu      sync.Mutex
	changed map[K]struct{} // since they were sent; nil if nobody is told
	soon    bool           // the digest is to be sent in any case

	active atomic.Bool // somebody is told

	sending  sync.Mutex // guards the rest; taken before mu
	sequence uint64
	parts    [buckets]part[K]
	count    int
	digest   uint64
	told     time.Time
	holders  []string
}

// A part is one bucket of a source.
type part[K comparable] struct {
	sums   map[K]uint64 // of the entries, as they were sent
	digest uint64
}

// touch notes that a key has changed.
func (s *source[K]) touch(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		s.changed[key] = struct{}{}
	}
}

// tellSoon has the digest sent by the next flush.
func (s *source[K]) tellSoon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.soon = true
}

// take returns some of the keys that have changed, and whether the digest is to be sent.
func (s *source[K]) take(n int) (keys []K, soon bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.changed {
		if len(keys) == n {
			return keys, s.soon
		}
		keys = append(keys, key)
		delete(s.changed, key)
	}
	if len(keys) > 0 {
		s.changed = make(map[K]struct{}) // a map does not shrink
	}
	soon, s.soon = s.soon, false
	return keys, soon
}

// start begins to note changes.
func (s *source[K]) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = make(map[K]struct{})
	s.active.Store(true)
}

// stop forgets what was sent. The numbers go on.
func (s *source[K]) stop() {
	if !s.active.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed = nil
	s.active.Store(false)
	s.parts, s.count, s.digest, s.holders = [buckets]part[K]{}, 0, 0, nil
}

// set records that an entry has been sent. It reports false if it is what was sent before.
func (s *source[K]) set(key K, e entry) bool {
	p := &s.parts[bucketOf(e.key)]
	before, had := p.sums[key]
	var sum uint64
	switch {
	case e.gone && !had:
		return false
	case e.gone:
		delete(p.sums, key)
		if s.count--; len(p.sums) == 0 {
			p.sums = nil // a map does not shrink
		}
	default:
		if sum = sumOf(e.key, e.value); had && sum == before {
			return false
		}
		if p.sums == nil {
			p.sums = make(map[K]uint64)
		}
		p.sums[key] = sum
		if !had {
			s.count++
		}
	}
	p.digest ^= before ^ sum
	s.digest ^= before ^ sum
	return true
}

// flush sends what has changed, or the digest if it is due.
func (t *Table[K, V]) flush() {
	s := &t.source
	s.sending.Lock()
	defer s.sending.Unlock()
	to, holders := t.recipients()
	if len(to) == 0 {
		s.stop()
		return
	}
	if !s.active.Load() {
		// Those who have no copy ask for the whole.
		s.start()
		for key := range t.options.Keys() {
			s.set(key, t.entry(key))
		}
	}
	due := time.Since(s.told) >= digestInterval
	if !slices.Equal(holders, s.holders) {
		due = true
		former := s.holders
		s.holders = holders
		for _, node := range former {
			if !slices.Contains(holders, node) {
				t.send([]bus.Topic{bus.NodeTopic(node)}, nil) // it can drop its copy
			}
		}
	}
	for t.ctx.Err() == nil && (due || t.bus.Stats().Queued < maxWaiting) {
		keys, soon := s.take(pieceKeys)
		var entries []byte
		for _, key := range keys {
			if e := t.entry(key); s.set(key, e) {
				entries = e.append(entries)
			}
			if len(entries) >= maxPiece {
				t.send(to, entries)
				entries = nil
			}
		}
		if len(entries) > 0 || due || soon {
			t.send(to, entries)
		}
		due = false
		if len(keys) < pieceKeys {
			return
		}
	}
}

// recipients returns the topics that updates go to; none if no other node lives. If only some nodes
// have copies, it also returns their names.
func (t *Table[K, V]) recipients() (to []bus.Topic, holders []string) {
	members := t.bus.Members()
	switch {
	case len(members) == 0:
		return nil, nil
	case t.options.Holders == 0:
		return []bus.Topic{bus.All}, nil
	}
	holders = holdersOf(t.bus.Incarnation(), members, t.options.Holders)
	for _, node := range holders {
		to = append(to, bus.NodeTopic(node))
	}
	return to, holders
}

// entry returns the entry of a key.
func (t *Table[K, V]) entry(key K) entry {
	value, ok := t.options.Append(nil, key)
	return entry{t.options.Codec.AppendKey(nil, key), value, !ok}
}

// send sends an update. If it is lost, the next digest tells.
func (t *Table[K, V]) send(to []bus.Topic, entries []byte) {
	s := &t.source
	s.sequence++
	s.told = time.Now()
	head := encodeHead(update{s.sequence, s.count, s.digest, s.holders})
	_ = t.bus.Publish(t.options.Kind, append(head, entries...), false, to...)
}

// answerDigests tells another node the digests of all buckets.
func (t *Table[K, V]) answerDigests(context.Context, bus.Request) ([]byte, error) {
	s := &t.source
	s.sending.Lock()
	defer s.sending.Unlock()
	return appendDigests(encodeHead(answer{s.sequence}), func(bucket int) uint64 { return s.parts[bucket].digest }), nil
}

// answerBuckets tells another node what is in some buckets, as many of them as an answer has.
func (t *Table[K, V]) answerBuckets(_ context.Context, r bus.Request) ([]byte, error) {
	s := &t.source
	s.sending.Lock()
	defer s.sending.Unlock()
	result := encodeHead(answer{s.sequence})
	for _, bucket := range r.Body {
		var entries []byte
		for key, sum := range s.parts[bucket].sums {
			e := t.entry(key)
			if e.gone {
				continue // an update is about to say so
			}
			if sumOf(e.key, e.value) != sum {
				s.touch(key) // all who have copies must learn of it
			}
			entries = e.append(entries)
		}
		result = appendBucket(result, int(bucket), entries)
		if len(result) >= maxFetch {
			break
		}
	}
	return result, nil
}
