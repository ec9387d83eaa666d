package webhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// maxRecords bounds the records, of which half may be of sockets that are there.
const maxRecords = 2 * maxWaiting

// records are what lets disconnects survive the process: one of each socket that is there,
// and one of each message that waits in the queue. The message of a socket that is gone
// takes over its record, and with it the id that backends know the message by.
//
// The records are in the storage of the backend in use. Without one, nothing is kept. The
// zero value is empty. All methods may be called concurrently.
type records struct {
	mu      sync.Mutex
	options Options                // of the backend in use, or of the last one that was
	log     *wal.Log               // nil: nothing is kept
	present map[string]*wal.Record // of sockets that are not gone, by the socket's id
	back    map[string]bool        // sockets whose clients came back before the log was taken over
	full    bool                   // present is, and the log has a line about it
}

// use has records kept in the storage of a backend. takeOver is called with the messages
// that a previous process left there.
func (r *records) use(backend *Options, takeOver func([]*disconnect)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options = *backend
	if backend.Storage == nil {
		return
	}
	if r.log == nil {
		r.log = wal.New(wal.Options{
			TakeOver: func(left []wal.Entry, lastAlive time.Time) { takeOver(r.parse(left, lastAlive)) },
			Failed:   r.failed,
		})
		r.present = make(map[string]*wal.Record)
	}
	r.log.Use(backend.Storage, backend.Logger)
}

// leave returns when nothing uses the storage of a backend any more. The records move to
// that of the backend in use.
func (r *records) leave(ctx context.Context, s Storage) {
	r.mu.Lock()
	log, next := r.log, r.options.Storage
	r.mu.Unlock()
	if log != nil && s != nil {
		log.Leave(ctx, s, next)
	}
}

// errNoBackend is why messages are lost that nothing keeps.
var errNoBackend = errors.New("there is no backend any more")

// stop writes what has changed. Until use is called, nothing more is written but by close.
func (r *records) stop(ctx context.Context) error {
	r.mu.Lock()
	log := r.log
	r.mu.Unlock()
	if log == nil {
		return errNoBackend
	}
	return log.Stop(ctx)
}

// close writes the records a last time, after stop. Those of sockets that are there are
// only kept if the process will be replaced by another one. After an error, what waits
// does not outlive the process.
func (r *records) close(ctx context.Context, replaced bool) error {
	r.mu.Lock()
	log := r.log
	if !replaced { // nobody is there to be told of them
		for id := range r.present {
			r.deletePresent(id)
		}
	}
	r.mu.Unlock()
	if log == nil {
		return errNoBackend
	}
	return log.Close(ctx)
}

// reset forgets everything, after close.
func (r *records) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log, r.present, r.back, r.full = nil, nil, nil, false
}

// failed logs that records could not be written.
func (r *records) failed(err error) {
	r.mu.Lock()
	logger := r.options.Logger
	r.mu.Unlock()
	logger.Error("what the backend is to be told cannot be stored, "+
		"and would not survive this process", zap.Error(err))
}

// accepted notes that the backend has let a client in.
func (r *records) accepted(namespace string, h *realtime.Handshake, a *answer) {
	r.setPresent(h.SocketID, &acceptedClient{dataOfClient(namespace, h, a), peerOf(h)})
}

// connected notes that a socket is there.
func (r *records) connected(s *realtime.Socket) { r.setPresent(s.ID(), presentSocket{s}) }

func (r *records) setPresent(id string, v wal.Value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch record := r.present[id]; {
	case r.log == nil:
	case record != nil:
		r.log.Update(record, v)
	case len(r.present) < maxWaiting:
		if r.log.Len() < maxRecords {
			r.present[id] = r.log.Put(newMessageID(), v)
		}
	case !r.full:
		r.full = true
		r.options.Logger.Warn("there are too many sockets for the backend to learn of all of them, "+
			"should this process be killed", zap.Int("limit", maxWaiting))
	}
}

// changed notes that the state of a socket has changed.
func (r *records) changed(s *realtime.Socket) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if record := r.present[s.ID()]; record != nil {
		r.log.Update(record, presentSocket{s})
	}
}

// has reports whether there is a record of a socket that is there.
func (r *records) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.present[id] != nil
}

// forget drops the record of a socket that is gone: the backend is not told.
func (r *records) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deletePresent(id)
}

// deletePresent drops the record of a socket, if there is one. The caller holds the mutex.
func (r *records) deletePresent(id string) {
	if record := r.present[id]; record != nil {
		r.log.Delete(record)
		delete(r.present, id)
	}
}

// put gives a message its id, and keeps a record of it: that of its socket, or a new one.
func (r *records) put(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.record = r.present[d.socket]; d.record != nil {
		delete(r.present, d.socket)
		d.id = d.record.ID()
		r.log.Update(d.record, d.value())
		return
	}
	d.id = newMessageID()
	if r.log != nil && r.log.Len() < maxRecords {
		d.record = r.log.Put(d.id, d.value())
	}
}

// putLeft keeps a record of a message that a previous process left, with the id that it
// has.
func (r *records) putLeft(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.record = r.log.Put(d.id, d.value())
}

// update notes that a message is due at another time.
func (r *records) update(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.record != nil && r.log != nil {
		r.log.Update(d.record, d.value())
	}
}

// delete drops the record of a message that will not be sent any more.
func (r *records) delete(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.record != nil && r.log != nil {
		r.log.Delete(d.record)
	}
}

// returned notes that a client has come back. It may not be known yet that it had been
// away when the previous process ended.
func (r *records) returned(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log == nil || !r.log.TakingOver() {
		r.back = nil
		return
	}
	if r.back == nil {
		r.back = make(map[string]bool)
	}
	r.back[id] = true
}

// isBack reports whether the client of a message that a previous process left is there
// again.
func (r *records) isBack(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.present[id] != nil || r.back[id]
}

// parse makes messages of the records that a previous process left, with the ids that
// they had.
func (r *records) parse(left []wal.Entry, lastAlive time.Time) []*disconnect {
	r.mu.Lock()
	hub, logger := r.options.Hub, r.options.Logger
	r.mu.Unlock()
	messages := make([]*disconnect, 0, len(left))
	lost := 0
	for _, e := range left {
		d, wasThere, err := parseRecord(hub, e, lastAlive)
		if err != nil {
			logger.Error("a part of an earlier process's journal is corrupt, and left out",
				zap.String("id", e.ID), zap.Error(err))
			continue
		}
		if wasThere {
			lost++
		}
		messages = append(messages, d)
	}
	if len(messages) > 0 {
		logger.Info("taking over what an earlier process had still to tell the backend",
			zap.Int("lost_with_it", lost), zap.Int("gone_before", len(messages)-lost), zap.Time("last_alive", lastAlive))
	}
	return messages
}
