package webhook

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// typeBatch is the type of a request that has several messages.
const typeBatch = "batch"

// A batched is an attempt to send a message that may become part of a batch.
type batched struct {
	request   *request
	attempt   int
	done      chan outcome // what became of it; it has room for one
	gathering *gathering
	in        *batch // nil while it waits, and if it is sent alone; guarded by the mutex of batches

	state batchedState      // guarded by the mutex of in
	ended func(failed bool) // says so to the meter
}

// A batchedState says whether a message of a batch has been answered.
type batchedState int

const (
	open batchedState = iota
	answered
	left // nobody waits for its answer any more
)

// An outcome is what became of an attempt.
type outcome struct {
	reply *reply
	err   error
	alone trip // not 0: it is sent now, in a request of its own
}

// size is about how many bytes of a request a message takes.
func (m *batched) size() int { return len(m.request.data) + 128 }

// A batch is a request with several messages. Each is answered by itself. When nobody waits
// for an answer any more, the request ends.
type batch struct {
	site      site
	gathering *gathering
	trip      trip
	ctx       context.Context
	cancel    context.CancelFunc

	messages []*batched
	byID     map[string]*batched

	mu   sync.Mutex
	open int         // messages that are
	end  *time.Timer // ends the request when no message is open; nil before
}

// endTime is for how long an answer may go on after its last line.
const endTime = time.Second

// newBatch makes a batch of messages, which is on its way from now on. The caller holds the
// mutex of batches.
func newBatch(g *gathering, messages []*batched, meter *Meter) *batch {
	b := &batch{site: g.site, gathering: g, trip: g.trip, messages: messages, byID: make(map[string]*batched, len(messages)), open: len(messages)}
	b.ctx, b.cancel = context.WithCancel(context.Background()) // it ends with post
	for _, m := range messages {
		m.in = b
		m.ended = meter.begin(m.request.kind)
		b.byID[m.request.id] = m
	}
	return b
}

// body returns what is sent.
func (b *batch) body(at time.Time) []byte {
	size := 128
	for _, m := range b.messages {
		size += m.size()
	}
	text := make([]byte, 0, size)
	text = append(text, `{"v":1,"type":"batch","timestamp":"`...)
	text = at.UTC().AppendFormat(text, timeFormat)
	text = append(text, `","messages":[`...)
	for i, m := range b.messages {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `{"id":"`...)
		text = append(text, m.request.id...)
		text = append(text, `","type":"`...)
		text = append(text, m.request.kind...)
		text = append(text, `","attempt":`...)
		text = strconv.AppendInt(text, int64(m.attempt), 10)
		text = append(text, `,"data":`...)
		text = append(text, m.request.data...)
		text = append(text, '}')
	}
	return append(text, `]}`...)
}

// settle gives a message what became of it, if it is open, and returns what it was before.
func (b *batch) settle(m *batched, r *reply, err error) batchedState {
	b.mu.Lock()
	before := m.state
	if before == open {
		m.state = answered
		if b.open--; b.open == 0 {
			b.end = time.AfterFunc(endTime, b.cancel)
		}
	}
	b.mu.Unlock()
	if before == open {
		m.ended(err != nil || r.status >= 500)
		m.done <- outcome{reply: r, err: err}
	}
	return before
}

// close ends the batch, whose request has ended. It reports false if that had to be ended.
func (b *batch) close() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cancel()
	return b.end == nil || b.end.Stop()
}

// settled reports whether the outcome of all messages is known.
func (b *batch) settled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open == 0
}

// leave says that nobody waits for a message any more.
func (b *batch) leave(m *batched, cause error) outcome {
	b.mu.Lock()
	if m.state == answered {
		b.mu.Unlock()
		return <-m.done
	}
	m.state = left
	if b.open--; b.open == 0 {
		b.cancel()
	}
	b.mu.Unlock()
	m.ended(true)
	return outcome{err: &failure{sentUnknown, fmt.Errorf("asking backend: %w", cause)}}
}

// errNoLine is the error of a message that the answer to a batch leaves out.
var errNoLine = errors.New("the answer to the batch has no line for the message")
