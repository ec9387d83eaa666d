package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// typeBatch is the type of a request that has several messages.
const typeBatch = "batch"

// A batched is an attempt to send a message that may become part of a batch.
type batched struct {
	request   *request
	attempt   int
	asker     asker           // whom its outcome is for
	ctx       context.Context // nobody waits for the outcome when it has ended
	gathering *gathering
	in        *batch // nil while it waits; guarded by the mutex of batches, like gone
	gone      bool   // nobody waits for its outcome

	state batchedState // guarded by the mutex of in
	began time.Time    // set when it is sent
}

// An asker waits for the outcome of an attempt.
type asker interface {
	// take takes the outcome, once. It does not wait for anything.
	take(o outcome)
}

// outcomes is the asker of a goroutine that receives from it. It has room for one.
type outcomes chan outcome

func (c outcomes) take(o outcome) { c <- o }

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
}

// size is about how many bytes of a request a message takes.
func (m *batched) size() int { return len(m.request.data) + 128 }

// A batch is a request with several messages. Each is answered by itself. When nobody waits
// for an answer any more, the request ends.
type batch struct {
	site      site
	gathering *gathering // where its messages have waited; in use for another site, perhaps
	trip      trip
	ctx       context.Context
	cancel    context.CancelFunc

	meter *Meter

	messages []*batched
	byID     map[string]*batched // nil if there is only one

	mu   sync.Mutex
	open int         // messages that are
	end  *time.Timer // ends the request when no message is open; nil before
}

// endTime is for how long an answer may go on after its last line.
const endTime = time.Second

// newBatch makes a batch of messages, which is on its way from now on. The caller holds the
// mutex of batches.
func newBatch(g *gathering, messages []*batched, meter *Meter) *batch {
	b := &batch{site: g.site, gathering: g, trip: g.trip, meter: meter, messages: messages, open: len(messages)}
	b.ctx, b.cancel = context.WithCancel(context.Background()) // it ends with post
	if len(messages) > 1 {
		b.byID = make(map[string]*batched, len(messages))
	}
	began := meter.begin(len(messages))
	for _, m := range messages {
		m.in, m.began = b, began
		if b.byID != nil {
			b.byID[m.request.id] = m
		}
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

// message returns the message whose id a JSON value is; nil if there is none.
func (b *batch) message(id json.RawMessage) *batched {
	if len(id) > 2 && id[0] == '"' {
		if m := b.byID[string(id[1:len(id)-1])]; m != nil { // which needs no allocation
			return m
		}
	}
	text, _ := rawjson.Unquote(id)
	return b.byID[text]
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
		b.meter.end(m.request.kind, m.began, err != nil || r.status >= 500)
		m.asker.take(outcome{r, err})
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

// leave says that nobody waits for a message any more. It reports false if the message has been
// answered.
func (b *batch) leave(m *batched, cause error) (o outcome, ok bool) {
	b.mu.Lock()
	if m.state == answered {
		b.mu.Unlock()
		return outcome{}, false
	}
	m.state = left
	if b.open--; b.open == 0 {
		b.cancel()
	}
	b.mu.Unlock()
	b.meter.end(m.request.kind, m.began, true)
	return outcome{err: &failure{sentUnknown, fmt.Errorf("asking backend: %w", cause)}}, true
}

// errNoLine is the error of a message that the answer to a batch leaves out.
var errNoLine = errors.New("the answer to the batch has no line for the message")
