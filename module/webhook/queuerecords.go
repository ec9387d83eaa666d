package webhook

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// What a queue does so that disconnects survive the process: it keeps a record of each
// socket that is there and of each message that waits, and takes over the records of
// previous processes.

// maxRecords bounds the records, of which half may be of sockets that are there.
const maxRecords = 2 * maxWaiting

// storeIn has records kept in the storage of a backend. The caller holds the mutex.
func (q *Queue) storeIn(b *Handler) {
	if q.log == nil {
		q.log = wal.New(wal.Options{TakeOver: q.takeOver, Failed: q.notStored})
		q.present = make(map[string]*wal.Record)
	}
	q.log.Use(b.options.Storage, b.options.Logger)
}

// notStored logs that records could not be written.
func (q *Queue) notStored(err error) {
	q.mu.Lock()
	logger := q.latest.options.Logger
	q.mu.Unlock()
	logger.Error("what the backend is to be told cannot be stored, and would not survive this process", zap.Error(err))
}

// accepted notes that the backend has let a client in.
func (q *Queue) accepted(namespace string, h *realtime.Handshake, a *answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.log != nil {
		q.setPresent(h.SocketID, &acceptedClient{dataOfClient(namespace, h, a), peerOf(h)})
	}
}

// connected notes that a socket is there.
func (q *Queue) connected(s *realtime.Socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.log != nil {
		q.setPresent(s.ID(), presentSocket{s})
	}
}

// setPresent keeps a record of a socket that is not gone. The caller holds the mutex, and
// knows that there is a log.
func (q *Queue) setPresent(id string, v wal.Value) {
	if r := q.present[id]; r != nil {
		q.log.Update(r, v)
		return
	}
	switch {
	case len(q.present) < maxWaiting:
		if q.log.Len() < maxRecords {
			q.present[id] = q.log.Put(newMessageID(), v)
		}
	case !q.full:
		q.full = true
		q.latest.options.Logger.Warn("there are too many sockets for the backend to learn of all of them, should this process be killed", zap.Int("limit", maxWaiting))
	}
}

// changed notes that the state of a socket has changed.
func (q *Queue) changed(s *realtime.Socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if r := q.present[s.ID()]; r != nil {
		q.log.Update(r, presentSocket{s})
	}
}

// Adopt notes that a socket is there which connected before the backend was attached.
// It must be called when the backend is among the socket's handlers.
func (q *Queue) Adopt(s *realtime.Socket) {
	q.mu.Lock()
	known := q.present[s.ID()] != nil
	q.mu.Unlock()
	if known {
		return
	}
	q.connected(s)
	if present, ok := s.Namespace().Socket(s.ID()); ok && present == s {
		return // HandleDisconnect is called when it goes.
	}
	q.forget(s.ID())
}

// forget drops the record of a socket that is gone: the backend is not told.
func (q *Queue) forget(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deleteRecord(q.present[id])
	delete(q.present, id)
}

// deleteRecord drops a record, which may be nil. The caller holds the mutex.
func (q *Queue) deleteRecord(r *wal.Record) {
	if r != nil && q.log != nil {
		q.log.Delete(r)
	}
}

// record keeps a record of a message: that of its socket, or a new one. It also gives
// the message its id. The caller holds the mutex.
func (q *Queue) record(d *disconnect) {
	r := q.present[d.socket]
	delete(q.present, d.socket)
	switch {
	case r != nil:
		d.id = r.ID()
		q.log.Update(r, d.value())
	case q.log != nil && q.log.Len() < maxRecords:
		d.id = newMessageID()
		r = q.log.Put(d.id, d.value())
	default:
		d.id = newMessageID()
	}
	d.record = r
}

// noteReturn notes that a client has come back before it was known that it had been away
// when the previous process ended. The caller holds the mutex.
func (q *Queue) noteReturn(id string) {
	if q.log == nil || !q.log.TakingOver() {
		q.returned = nil
		return
	}
	if q.returned == nil {
		q.returned = make(map[string]bool)
	}
	q.returned[id] = true
}

// takeOver makes messages of the records that a previous process left, with the ids
// that they had.
func (q *Queue) takeOver(left []wal.Entry, lastAlive time.Time) {
	q.mu.Lock()
	options := q.latest.options
	q.mu.Unlock()
	messages := make([]*disconnect, 0, len(left))
	lost := 0
	for _, e := range left {
		d, wasThere, err := parseRecord(options.Hub, e, lastAlive)
		if err != nil {
			options.Logger.Error("a part of an earlier process's journal is corrupt, and left out", zap.String("id", e.ID), zap.Error(err))
			continue
		}
		if wasThere {
			lost++
		}
		messages = append(messages, d)
	}
	if len(messages) == 0 {
		return
	}
	options.Logger.Info("taking over what an earlier process had still to tell the backend",
		zap.Int("lost_with_it", lost), zap.Int("gone_before", len(messages)-lost), zap.Time("last_alive", lastAlive))
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped := 0
	for _, d := range messages {
		switch {
		case q.present[d.socket] != nil || q.returned[d.socket]:
			// The client is back.
		case q.waiting.Len() >= maxWaiting:
			dropped++
		default:
			d.record = q.log.Put(d.id, d.value())
			q.push(d)
		}
	}
	if dropped > 0 {
		q.lose(options.Logger, dropped, errFull)
	}
	q.notify()
}
