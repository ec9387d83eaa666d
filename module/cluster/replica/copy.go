package replica

import (
	"errors"
	"iter"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

const (
	// forgetAfter is how long the copy of a node is kept that is no member, or that does not send
	// updates to this one any more.
	forgetAfter = 3 * digestInterval

	// maxCopies is how many copies there are at a time, and maxHolders how many names of holders an
	// update has. There are never more than a thousand members.
	maxCopies  = 1000
	maxHolders = 16
)

// A nodeCopy is what this node has of another one's table. The table's mutex guards it.
type nodeCopy[K comparable, V any] struct {
	node        string
	incarnation string
	sequence    uint64 // of the last update
	count       int    // what that update says of the whole
	digest      uint64
	holders     []string
	heard       time.Time

	parts [buckets]copyPart[K, V]
	have  int // entries
	sum   uint64
	bytes int
	full  bool // something was left out, since copies have too many bytes
}

// A copyPart is one bucket of a copy.
type copyPart[K comparable, V any] struct {
	entries map[K]V
	digest  uint64
}

// complete reports whether the copy is as its node has said.
func (c *nodeCopy[K, V]) complete() bool { return c.have == c.count && c.sum == c.digest }

// all returns the entries.
func (c *nodeCopy[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for i := range c.parts {
			for key, value := range c.parts[i].entries {
				if !yield(key, value) {
					return
				}
			}
		}
	}
}

// receiveUpdate takes an update of another node.
func (t *Table[K, V]) receiveUpdate(m bus.Message) error {
	var u update
	rest, err := decodeHead(m.Body, &u)
	if err != nil {
		return err
	}
	if len(u.Holders) > maxHolders || u.Count < 0 {
		return errors.New("its numbers are wrong")
	}
	entries, err := t.readEntries(rest)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.copyOf(m.Node, m.Incarnation)
	if c != nil && len(u.Holders) > 0 && t.bus != nil && !slices.Contains(u.Holders, t.bus.Node()) {
		t.drop(c) // others have copies now
		return nil
	}
	if c == nil || u.Sequence <= c.sequence && c.sequence > 0 {
		return nil
	}
	c.sequence, c.count, c.digest, c.holders, c.heard = u.Sequence, u.Count, u.Digest, u.Holders, time.Now()
	for _, e := range entries {
		t.put(c, e)
	}
	if !c.complete() && !c.full {
		t.stale[c.node] = struct{}{}
		notify(t.fetch)
	}
	return nil
}

// A decoded entry is an entry that the codec has read.
type decoded[K comparable, V any] struct {
	entry
	k K
	v V // unless it is gone
}

// readEntries reads all entries of a message.
func (t *Table[K, V]) readEntries(b []byte) ([]decoded[K, V], error) {
	var all []decoded[K, V]
	for len(b) > 0 {
		var d decoded[K, V]
		var err error
		if d.entry, b, err = readEntry(b); err != nil {
			return nil, err
		}
		if d.k, err = t.options.Codec.ReadKey(d.key); err != nil {
			return nil, err
		}
		if !d.gone {
			if d.v, err = t.options.Codec.ReadValue(d.value); err != nil {
				return nil, err
			}
		}
		all = append(all, d)
	}
	return all, nil
}

// copyOf returns the copy of a node's incarnation, which may be new. It returns nil if there are too
// many. The caller of this method and of those that follow holds the mutex.
func (t *Table[K, V]) copyOf(node, incarnation string) *nodeCopy[K, V] {
	c := t.copies[node]
	switch {
	case c != nil && c.incarnation == incarnation:
		return c
	case c != nil:
		t.drop(c)
	case len(t.copies) >= maxCopies:
		return nil
	}
	c = &nodeCopy[K, V]{node: node, incarnation: incarnation}
	t.copies[node] = c
	return c
}

// drop forgets a copy.
func (t *Table[K, V]) drop(c *nodeCopy[K, V]) {
	t.bytes -= c.bytes
	c.bytes = 0
	if t.copies[c.node] == c {
		delete(t.copies, c.node)
	}
}

// put puts an entry into a copy, or removes it.
func (t *Table[K, V]) put(c *nodeCopy[K, V], d decoded[K, V]) {
	p := &c.parts[bucketOf(d.key)]
	var sum uint64
	if before, had := p.entries[d.k]; had {
		sum = sumOf(d.key, t.options.Codec.AppendValue(nil, before))
		t.weigh(c, -t.options.Codec.Size(d.k, before))
		c.have--
		if d.gone {
			delete(p.entries, d.k)
		}
	}
	if size := t.options.Codec.Size(d.k, d.v); !d.gone {
		if t.bytes+size > t.options.MaxBytes {
			c.full = true
			delete(p.entries, d.k)
			t.logger.Error("tables of other nodes take too much memory: a part is left out", zap.String("node", c.node))
		} else {
			if p.entries == nil {
				p.entries = make(map[K]V)
			}
			p.entries[d.k] = d.v
			sum ^= sumOf(d.key, d.value)
			t.weigh(c, size)
			c.have++
		}
	}
	if len(p.entries) == 0 {
		p.entries = nil // a map does not shrink
	}
	p.digest ^= sum
	c.sum ^= sum
}

// weigh counts the bytes of a copy.
func (t *Table[K, V]) weigh(c *nodeCopy[K, V], size int) {
	c.bytes += size
	t.bytes += size
}

// forgetAbsent drops copies that nothing has been heard of for long.
func (t *Table[K, V]) forgetAbsent() {
	members := t.bus.Members()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bus.Away() {
		t.deaf = time.Now()
	}
	for _, c := range t.copies {
		if time.Since(c.heard) < forgetAfter || time.Since(t.deaf) < forgetAfter {
			continue
		}
		member := slices.ContainsFunc(members, func(m bus.Member) bool { return m.Node == c.node })
		if !member || t.options.Holders > 0 {
			t.drop(c)
		}
	}
}

// Complete reports whether the copy of each of the other nodes is as that node has said last.
func (t *Table[K, V]) Complete() bool {
	members := t.bus.Members()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range members {
		if c := t.copies[m.Node]; c == nil || c.incarnation != m.Incarnation || !c.complete() {
			return false
		}
	}
	return true
}

// Values returns the values that a key has at other nodes, with the names of these. The loop must
// not call the table.
func (t *Table[K, V]) Values(key K) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		bucket := bucketOf(t.options.Codec.AppendKey(nil, key))
		t.mu.Lock()
		defer t.mu.Unlock()
		for node, c := range t.copies {
			if value, ok := c.parts[bucket].entries[key]; ok && !yield(node, value) {
				return
			}
		}
	}
}
