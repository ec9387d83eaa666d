package realtime

import (
	"errors"
	"iter"
	"sync"
	"time"
	"unique"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/replica"
)

// A Backup is a set of records that other nodes of the hub have copies of: what a handler has to tell
// an application, should this node be lost. Then one of the others tells it. All methods may be called
// concurrently. Those of a nil Backup do nothing.
type Backup struct {
	backups *backups
	name    unique.Handle[string]

	mu      sync.Mutex
	user    BackupUser
	records map[string]*BackupRecord // by their ids
}

// A BackupUser acts on the records of nodes that are lost. One goroutine at a time calls TakeOver and
// Back. No method must block for long.
type BackupUser interface {
	// TakeOver is told of the records that a lost node has left, which was heard of for the last time
	// at a time. It may be told of them again, here or on another node, and the lost node may act on
	// them itself, since it has been started again or was not lost.
	TakeOver(left []LostRecord, lastAlive time.Time)

	// Taken is told that another node has taken over records of this one, which was declared lost by
	// mistake. It returns the ids of those that are there.
	Taken(ids []string) (alive []string)

	// Back is told that these records, which TakeOver was told of, are still those of a node that
	// lives.
	Back(ids []string)
}

// A LostRecord is a record that a lost node has left.
type LostRecord struct {
	ID    string
	Value []byte // JSON, which may be invalid: the broker is not trusted
}

// A BackupValue is what a record holds.
type BackupValue interface {
	// AppendBackup appends JSON to b. It is called when the record is sent, which may be long after
	// Put, once or several times, by any goroutine. It must not call the backup.
	AppendBackup(b []byte) []byte
}

// A BackupRecord is one id of a Backup, with its value.
type BackupRecord struct {
	id    string
	value BackupValue // guarded by the backup
}

// ID returns the record's id.
func (r *BackupRecord) ID() string { return r.id }

const (
	// backupHolders is how many other nodes have copies of a node's records.
	backupHolders = 2

	// maxBackupID and maxBackupValue are how many bytes an id and a value may have that come from
	// another node.
	maxBackupID    = 64
	maxBackupValue = 64 << 10
)

// Backup returns the backup of a name, which is the same on all nodes.
func (h *Hub) Backup(name string) *Backup { return h.backups.named(unique.Make(name)) }

// Use names the user from now on; nil for none. Without one, no records of lost nodes are taken over
// here, and it must have been taken back before anything that it uses ends.
func (b *Backup) Use(user BackupUser) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.user = user
}

// Put adds a record. Its id has 64 bytes at most, and no other record of the backup has it.
func (b *Backup) Put(id string, v BackupValue) *BackupRecord {
	if b == nil {
		return nil
	}
	r := &BackupRecord{id: id, value: v}
	b.mu.Lock()
	b.records[id] = r
	b.mu.Unlock()
	b.changed(r)
	return r
}

// Update sets the value of a record, unless it is deleted.
func (b *Backup) Update(r *BackupRecord, v BackupValue) {
	if b == nil || r == nil {
		return
	}
	b.mu.Lock()
	r.value = v
	b.mu.Unlock()
	b.changed(r)
}

// Delete deletes a record. It may be deleted already.
func (b *Backup) Delete(r *BackupRecord) {
	if b == nil || r == nil {
		return
	}
	b.mu.Lock()
	if b.records[r.id] == r {
		delete(b.records, r.id)
	}
	if len(b.records) == 0 {
		b.records = make(map[string]*BackupRecord) // a map does not shrink
	}
	b.mu.Unlock()
	b.changed(r)
}

// Value returns the value of the record of an id; nil if there is none.
func (b *Backup) Value(id string) BackupValue {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.records[id]; r != nil {
		return r.value
	}
	return nil
}

// Len returns how many records there are.
func (b *Backup) Len() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.records)
}

// Clear deletes all records.
func (b *Backup) Clear() {
	if b == nil {
		return
	}
	b.mu.Lock()
	records := b.records
	b.records = make(map[string]*BackupRecord)
	b.mu.Unlock()
	for _, r := range records {
		b.changed(r)
	}
}

func (b *Backup) changed(r *BackupRecord) { b.backups.table.Changed(backupKey{b.name, r.id}) }

// backups are those of a hub.
type backups struct {
	table *replica.Table[backupKey, []byte]

	mu  sync.Mutex
	all map[unique.Handle[string]]*Backup // by their names
}

// A backupKey names a record among those of all backups.
type backupKey struct {
	backup unique.Handle[string]
	id     string
}

// newBackups returns the backups of a hub with other nodes.
func newBackups(h *Hub) *backups {
	b := &backups{all: make(map[unique.Handle[string]]*Backup)}
	b.table = replica.New(replica.Options[backupKey, []byte]{
		Kind:    "backup",
		Codec:   backupCodec{},
		Append:  b.appendValue,
		Keys:    b.keys,
		Holders: backupHolders,
		Lost:    b.takeOver,
		Taken:   b.taken,
		Back:    b.back,
		Logger:  h.logger,
	})
	return b
}

func (b *backups) named(name unique.Handle[string]) *Backup {
	b.mu.Lock()
	defer b.mu.Unlock()
	one := b.all[name]
	if one == nil {
		one = &Backup{backups: b, name: name, records: make(map[string]*BackupRecord)}
		b.all[name] = one
	}
	return one
}

// find returns the backup of a name and its user; nil if there is none, or has no user.
func (b *backups) find(name unique.Handle[string]) (*Backup, BackupUser) {
	b.mu.Lock()
	one := b.all[name]
	b.mu.Unlock()
	if one == nil {
		return nil, nil
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	return one, one.user
}

// appendValue is replica.Options.Append.
func (b *backups) appendValue(to []byte, key backupKey) (value []byte, ok bool) {
	if one, _ := b.find(key.backup); one != nil {
		if v := one.Value(key.id); v != nil {
			return v.AppendBackup(to), true
		}
	}
	return to, false
}

// keys is replica.Options.Keys.
func (b *backups) keys() iter.Seq[backupKey] {
	var keys []backupKey
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, one := range b.all {
		one.mu.Lock()
		for id := range one.records {
			keys = append(keys, backupKey{name, id})
		}
		one.mu.Unlock()
	}
	return func(yield func(backupKey) bool) {
		for _, key := range keys {
			if !yield(key) {
				return
			}
		}
	}
}

// takeOver is replica.Options.Lost. It takes the records of backups that have a user here.
func (b *backups) takeOver(l replica.Loss[backupKey, []byte]) (taken []backupKey) {
	left := make(map[unique.Handle[string]][]LostRecord)
	for key, value := range l.Table {
		left[key.backup] = append(left[key.backup], LostRecord{key.id, value})
	}
	for name, records := range left {
		if _, user := b.find(name); user != nil {
			user.TakeOver(records, l.Heard)
			for _, r := range records {
				taken = append(taken, backupKey{name, r.ID})
			}
		}
	}
	return taken
}

// taken is replica.Options.Taken.
func (b *backups) taken(keys []backupKey) (alive []backupKey) {
	for name, ids := range byBackup(keys) {
		if _, user := b.find(name); user != nil {
			for _, id := range user.Taken(ids) {
				alive = append(alive, backupKey{name, id})
			}
		}
	}
	return alive
}

// back is replica.Options.Back.
func (b *backups) back(keys []backupKey) {
	for name, ids := range byBackup(keys) {
		if _, user := b.find(name); user != nil {
			user.Back(ids)
		}
	}
}

func byBackup(keys []backupKey) map[unique.Handle[string]][]string {
	ids := make(map[unique.Handle[string]][]string)
	for _, key := range keys {
		ids[key.backup] = append(ids[key.backup], key.id)
	}
	return ids
}

// A backupCodec writes a key as its id and the name of its backup, with a zero byte in between.
type backupCodec struct{}

func (backupCodec) AppendKey(b []byte, key backupKey) []byte {
	return append(append(append(b, key.id...), 0), key.backup.Value()...)
}

func (backupCodec) ReadKey(text []byte) (backupKey, error) {
	for i, c := range text[:min(len(text), maxBackupID+1)] {
		if c == 0 && len(text)-i <= maxRemoteName {
			return backupKey{unique.Make(string(text[i+1:])), string(text[:i])}, nil
		}
	}
	return backupKey{}, errors.New("it has a key that is not that of a record")
}

func (backupCodec) AppendValue(b, value []byte) []byte { return append(b, value...) }

func (backupCodec) ReadValue(text []byte) ([]byte, error) {
	if len(text) > maxBackupValue {
		return nil, errors.New("it has a record that is too large")
	}
	return append([]byte(nil), text...), nil
}

// backupOverhead is about how many bytes a record takes in a copy besides its id and value.
const backupOverhead = 100

func (backupCodec) Size(key backupKey, value []byte) int {
	return len(key.id) + len(value) + backupOverhead
}
