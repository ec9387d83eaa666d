package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

const (
	// fetchTimeout is how long a node may take to answer.
	fetchTimeout = 5 * time.Second
	// maxAttempts is how often a part is asked for in a row that changes all the time. The next
	// update begins anew.
	maxAttempts = 1000
)

// runFetches asks other nodes for the parts of their tables that are not right here, one node after
// the other, until the table is closed. It also tells nodes that are back.
func (t *Table[K, V]) runFetches() {
	for {
		select {
		case <-t.fetch:
		case <-t.ctx.Done():
			return
		}
		var failed []*nodeCopy[K, V]
		for c := t.nextStale(); c != nil; c = t.nextStale() {
			if err := t.fetchCopy(c); err != nil {
				failed = append(failed, c)
				if !errors.Is(err, errAbsent) && t.ctx.Err() == nil {
					t.logger.Warn("table of another node cannot be fetched", zap.String("node", c.node), zap.Error(err))
				}
			}
		}
		t.retryLater(failed)
		t.tellReturned()
	}
}

// hasFetches reports whether there is something to do for runFetches.
func (t *Table[K, V]) hasFetches() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.stale)+len(t.returns) > 0
}

// nextStale returns a copy that is to be fetched; nil if there is none.
func (t *Table[K, V]) nextStale() *nodeCopy[K, V] {
	t.mu.Lock()
	defer t.mu.Unlock()
	for node := range t.stale {
		delete(t.stale, node)
		if c := t.copies[node]; c != nil && !c.complete() {
			return c
		}
	}
	return nil
}

// retryLater has copies fetched that could not be, half a second later.
func (t *Table[K, V]) retryLater(failed []*nodeCopy[K, V]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range failed {
		if t.copies[c.node] == c {
			t.stale[c.node] = struct{}{}
		}
	}
}

var (
	errAbsent   = errors.New("it is not known yet")
	errNoAnswer = errors.New("it does not answer")
	errBucket   = errors.New("it has answered with a bucket that it was not asked for")
)

// fetchCopy asks for what differs.
func (t *Table[K, V]) fetchCopy(c *nodeCopy[K, V]) error {
	if !slices.ContainsFunc(t.bus.Members(), func(m bus.Member) bool { return m.Node == c.node }) {
		return errAbsent
	}
	var head answer
	rest, err := t.ask(c, kindDigests, nil, &head)
	if err != nil {
		return err
	}
	digests, err := readDigests(rest)
	if err != nil {
		return err
	}
	var differ []byte // the numbers of the buckets
	t.mu.Lock()
	for i, digest := range digests {
		if c.parts[i].digest != digest {
			differ = append(differ, byte(i))
		}
	}
	t.mu.Unlock()
	for range maxAttempts {
		if len(differ) == 0 {
			return nil
		}
		if rest, err = t.ask(c, kindBuckets, differ, &head); err != nil {
			return err
		}
		got, err := t.takeBuckets(c, head.Sequence, differ, rest)
		if err != nil {
			return err
		}
		differ = differ[got:]
	}
	return nil
}

// ask sends a request to the node of a copy, and reads the beginning of its answer.
func (t *Table[K, V]) ask(c *nodeCopy[K, V], kind string, body []byte, head *answer) (rest []byte, err error) {
	ctx, cancel := context.WithTimeout(t.ctx, fetchTimeout)
	defer cancel()
	answers, err := t.bus.Request(ctx, t.options.Kind+kind, body, c.node)
	if err != nil {
		return nil, err
	}
	text, ok := answers.Nodes[c.node]
	if !ok {
		return nil, errNoAnswer
	}
	return decodeHead(text, head)
}

// takeBuckets puts buckets of an answer into a copy, in the place of those that it has, and returns
// how many there were. They are the first ones of those that were asked for. If an update has come
// meanwhile that was later than the answer, it takes none.
func (t *Table[K, V]) takeBuckets(c *nodeCopy[K, V], sequence uint64, asked, body []byte) (got int, err error) {
	type part struct {
		bucket  int
		entries []decoded[K, V]
	}
	var parts []part
	for len(body) > 0 {
		var p part
		var text []byte
		if p.bucket, text, body, err = readBucket(body); err != nil {
			return 0, err
		}
		if len(parts) == len(asked) || p.bucket != int(asked[len(parts)]) {
			return 0, errBucket
		}
		if p.entries, err = t.readEntries(text); err != nil {
			return 0, err
		}
		for _, e := range p.entries {
			if e.gone || bucketOf(e.key) != p.bucket {
				return 0, errBucket
			}
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return 0, errNoAnswer
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.copies[c.node] != c {
		return len(asked), nil // nobody needs it any more
	}
	if sequence < c.sequence {
		return 0, nil
	}
	for _, p := range parts {
		old := &c.parts[p.bucket]
		for key, value := range old.entries {
			t.weigh(c, -t.options.Codec.Size(key, value))
		}
		c.have -= len(old.entries)
		c.sum ^= old.digest
		*old = copyPart[K, V]{}
		for _, e := range p.entries {
			t.put(c, e)
		}
	}
	return len(parts), nil
}
