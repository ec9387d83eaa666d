package webhook

import (
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/wal"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A backupUser has a queue act for nodes that are lost.
type backupUser struct{ queue *Queue }

// TakeOver implements realtime.BackupUser.
func (u backupUser) TakeOver(left []realtime.LostRecord, lastAlive time.Time) {
	entries := make([]wal.Entry, len(left))
	for i, r := range left {
		entries[i] = wal.Entry{ID: r.ID, Value: r.Value}
	}
	messages, lost := u.queue.records.parse(entries, lastAlive)
	u.queue.records.logTakeOver("taking over what a lost node had still to tell the backend", len(messages), lost, lastAlive)
	u.queue.takeOver(messages)
}

// Taken implements realtime.BackupUser. The backend has been told that sockets are gone which are
// there.
func (u backupUser) Taken(ids []string) (alive []string) {
	sockets, alive := u.queue.records.renew(ids)
	for _, s := range sockets {
		u.queue.addRecovered(s)
	}
	return alive
}

// Back implements realtime.BackupUser.
func (u backupUser) Back(ids []string) { u.queue.drop(ids) }

// Interface guard
var _ realtime.BackupUser = backupUser{}
