package redisadapter

import (
	"context"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
)

// messageSize is about how many bytes a message takes in a queue besides its content.
const messageSize = 64

// A queue holds messages that wait, up to a limit of bytes. Adding to it never waits. All methods may
// be called concurrently.
type queue struct {
	limit int
	ready chan struct{} // has a token when something is in the queue

	mu       sync.Mutex
	messages []redisbroker.ChannelMessage
	bytes    int
	lost     bool // something is missing after the messages

	added, finished uint64        // how many messages, since the beginning
	progress        chan struct{} // closed when finished grows; nil if nobody waits
}

func newQueue(limit int) *queue { return &queue{limit: limit, ready: make(chan struct{}, 1)} }

// add adds a message. It reports false if the queue is full. An empty queue takes a message of any
// size.
func (q *queue) add(m redisbroker.ChannelMessage) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := messageSize + len(m.Channel) + len(m.Bytes)
	if len(q.messages) > 0 && q.bytes+size > q.limit {
		return false
	}
	q.messages = append(q.messages, m)
	q.bytes += size
	q.added++
	q.signal()
	return true
}

// lose records that something is missing.
func (q *queue) lose() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lost = true
	q.signal()
}

// signal makes ready have a token.
func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns the messages that wait, so many at most, and whether something is missing after them.
// The caller calls finish when it has done with them.
func (q *queue) take(most int) (messages []redisbroker.ChannelMessage, lost bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.messages) > most {
		messages, q.messages = q.messages[:most:most], q.messages[most:]
		q.signal()
	} else {
		messages, lost = q.messages, q.lost
		q.messages, q.lost = nil, false
	}
	for _, m := range messages {
		q.bytes -= messageSize + len(m.Channel) + len(m.Bytes)
	}
	return messages, lost
}

func (q *queue) finish(messages int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished += uint64(messages)
	if q.progress != nil {
		close(q.progress)
		q.progress = nil
	}
}

// wait waits until all messages that have been added are finished, or ctx is done.
func (q *queue) wait(ctx context.Context) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for last := q.added; q.finished < last && ctx.Err() == nil; {
		if q.progress == nil {
			q.progress = make(chan struct{})
		}
		progress := q.progress
		q.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
		}
		q.mu.Lock()
	}
}

// size returns how many bytes wait.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
