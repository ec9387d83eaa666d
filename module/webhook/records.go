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
// The records are in the storage of the backend in use, for the next process, and other
// nodes have copies of them. Without a storage and other nodes, nothing is kept. The zero
// value is empty. All methods may be called concurrently.
type records struct {
	mu      sync.Mutex
	options Options           // of the backend in use, or of the last one that was
	log     *wal.Log          // nil: there is no storage
	backup  *realtime.Backup  // nil: there are no other nodes
	present map[string]record // of sockets that are not gone, by the socket's id
	back    map[string]bool   // sockets whose clients came back before the log was taken over
	full    bool              // present is, and the log has a line about it
}

// A record is in the log, if there is one, and in the backup, with the same id. The zero value is
// none.
type record struct {
	logged *wal.Record
	backed *realtime.BackupRecord
}

// id returns the id of the message, "" if there is no record.
func (r record) id() string {
	switch {
	case r.logged != nil:
		return r.logged.ID()
	case r.backed != nil:
		return r.backed.ID()
	}
	return ""
}

// use has records kept in the storage of a backend, and on other nodes. q takes over what a
// previous process left there, and what nodes left that were lost.
func (r *records) use(backend *Options, q *Queue) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options = *backend
	if r.present == nil {
		r.present = make(map[string]record)
	}
	if backend.Hub != nil && backend.Name != "" && r.backup == nil {
		r.backup = backend.Hub.Backup(backend.Name)
		r.backup.Use(backupUser{q})
	}
	if backend.Storage == nil {
		return
	}
	if r.log == nil {
		r.log = wal.New(wal.Options{
			TakeOver: func(left []wal.Entry, lastAlive time.Time) {
				messages, lost := r.parse(left, lastAlive)
				r.logTakeOver("taking over what an earlier process had still to tell the backend", len(messages), lost, lastAlive)
				q.takeOver(messages)
			},
			Failed: r.failed,
		})
		for id, one := range r.present { // they have been kept by other nodes only
			one.logged = r.log.Put(one.id(), r.backup.Value(one.id()).(value))
			r.present[id] = one
		}
	}
	r.log.Use(backend.Storage, backend.Logger)
}

// keeps reports whether records are kept anywhere.
func (r *records) keeps() bool { return r.log != nil || r.backup != nil }

// The caller of these methods holds the mutex.

// add keeps a new record, unless there are too many.
func (r *records) add(id string, v value) (one record) {
	if r.log != nil && r.log.Len() < maxRecords {
		one.logged = r.log.Put(id, v)
	}
	if r.backup.Len() < maxRecords {
		one.backed = r.backup.Put(id, v)
	}
	return one
}

func (r *records) set(one record, v value) {
	if one.logged != nil && r.log != nil {
		r.log.Update(one.logged, v)
	}
	r.backup.Update(one.backed, v)
}

func (r *records) remove(one record) {
	if one.logged != nil && r.log != nil {
		r.log.Delete(one.logged)
	}
	r.backup.Delete(one.backed)
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
	r.backup.Use(nil)
	r.backup.Clear()
	r.log, r.backup, r.present, r.back, r.full = nil, nil, nil, nil, false
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

func (r *records) setPresent(id string, v value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch one, there := r.present[id]; {
	case !r.keeps():
	case there:
		r.set(one, v)
	case len(r.present) < maxWaiting:
		if one := r.add(newMessageID(), v); one.id() != "" {
			r.present[id] = one
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
	if one, there := r.present[s.ID()]; there {
		r.set(one, presentSocket{s})
	}
}

// has reports whether there is a record of a socket that is there.
func (r *records) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, there := r.present[id]
	return there
}

// forget drops the record of a socket that is gone: the backend is not told.
func (r *records) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deletePresent(id)
}

// deletePresent drops the record of a socket, if there is one. The caller holds the mutex.
func (r *records) deletePresent(id string) {
	r.remove(r.present[id])
	delete(r.present, id)
}

// renew gives the records of sockets that are there other ids, since a backend has been told by
// the former ones that the sockets are gone. It returns these sockets, and the ids that there were
// records of.
func (r *records) renew(ids []string) (sockets []*realtime.Socket, alive []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		v := r.backup.Value(id)
		if v == nil {
			continue
		}
		alive = append(alive, id)
		s, ok := v.(presentSocket)
		if !ok || r.present[s.ID()].id() != id {
			continue
		}
		r.remove(r.present[s.ID()])
		r.present[s.ID()] = r.add(newMessageID(), s)
		sockets = append(sockets, s.Socket)
	}
	return sockets, alive
}

// put gives a message its id, and keeps a record of it: that of its socket, or a new one.
func (r *records) put(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one, there := r.present[d.socket]; there {
		delete(r.present, d.socket)
		d.id, d.record = one.id(), one
		r.set(one, d.value())
		return
	}
	d.id = newMessageID()
	d.record = r.add(d.id, d.value())
}

// putLeft keeps a record of a message that a previous process or another node left, with the
// id that it has.
func (r *records) putLeft(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.record = r.add(d.id, d.value())
}

// update notes that a message is due at another time.
func (r *records) update(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(d.record, d.value())
}

// delete drops the record of a message that will not be sent any more.
func (r *records) delete(d *disconnect) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(d.record)
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

// hasMessage reports whether there is a record of an id, if there are other nodes.
func (r *records) hasMessage(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.backup.Value(id) != nil
}

// isBack reports whether the client of a message that a previous process left is there
// again.
func (r *records) isBack(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, there := r.present[id]
	return there || r.back[id]
}

// parse makes messages of the records that a previous process or a lost node left, with the
// ids that they had. It also returns how many are about sockets that were lost with it.
func (r *records) parse(left []wal.Entry, lastAlive time.Time) (messages []*disconnect, lost int) {
	r.mu.Lock()
	hub, logger := r.options.Hub, r.options.Logger
	r.mu.Unlock()
	messages = make([]*disconnect, 0, len(left))
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
	return messages, lost
}

// logTakeOver logs what is taken over.
func (r *records) logTakeOver(line string, messages, lost int, lastAlive time.Time) {
	if messages == 0 {
		return
	}
	r.mu.Lock()
	logger := r.options.Logger
	r.mu.Unlock()
	logger.Info(line, zap.Int("lost_with_it", lost), zap.Int("gone_before", messages-lost), zap.Time("last_alive", lastAlive))
}
