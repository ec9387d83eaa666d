package realtime

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/bus"
)

// importedEvents are what the client of a socket had missed when this node took the socket over. They
// are not in this node's history, since no other client gets them. Their offsets say after which event
// of the history they come, and their place among themselves, from 1.
type importedEvents struct {
	offset   string // of the last event that the client had got, in the other node's history
	after    uint64
	messages []*Message // nil once they are too old
	count    int
	bytes    int
	at       time.Time
	got      map[uint64]struct{} // in another process: what the client had got of the history; nil otherwise
}

// maxImported is how many bytes of imported events one namespace holds.
const maxImported = maxHistoryBytes

// A historyPlace is what an offset says: a number in the history and, unless it is 0, how many imported
// events after it the client has got.
type historyPlace struct {
	number   uint64
	imported int
}

// place reports false for an offset of another history.
func (h *history) place(offset string) (p historyPlace, ok bool) {
	epoch, digits, _ := strings.Cut(offset, ".")
	digits, index, imported := strings.Cut(digits, ".")
	number, err := strconv.ParseUint(digits, 36, 64)
	if err != nil || epoch != h.epoch || number > h.last {
		return historyPlace{}, false
	}
	p.number = number
	if imported {
		i, err := strconv.ParseUint(index, 36, 31)
		if err != nil || i == 0 {
			return historyPlace{}, false
		}
		p.imported = int(i)
	}
	return p, true
}

// importEvents gives a socket that has just been taken over what its client has missed, with the
// offset that the client came with. The messages must belong to nobody else. The caller holds the
// store's mutex.
func (r *recoveryStore) importEvents(state *recoveryState, offset string, messages []*Message) {
	r.addImported(state, &importedEvents{offset: offset, after: r.history.last, messages: messages, count: len(messages), at: time.Now()})
	r.pruneImported()
	r.startTimer()
}

func (r *recoveryStore) addImported(state *recoveryState, i *importedEvents) {
	for n, m := range i.messages {
		text := r.history.epoch + "." + strconv.FormatUint(i.after, 36) + "." + strconv.FormatInt(int64(n+1), 36)
		m.offset = &text
		i.bytes += m.size()
	}
	state.imported = i
	r.imported = append(r.imported, i)
	r.importedBytes += i.bytes
}

// snapshotImported returns nil if this node has not taken the socket over.
func (state *recoveryState) snapshotImported() *importedSnapshot {
	i, r := state.imported, state.store
	if i == nil {
		return nil
	}
	s := &importedSnapshot{Offset: i.offset, After: i.after, Count: i.count, At: i.at}
	for _, m := range i.messages {
		event := newRemoteBroadcast(m, new(target))
		event.Namespace = ""
		s.Events = append(s.Events, event)
	}
	number := max(i.after, r.history.floor())
	for _, one := range r.history.after(number) {
		if one.at.Sub(i.at) > bus.InFlight {
			break
		}
		if number++; state.got(number, one.origin) {
			s.Got = append(s.Got, number)
		}
	}
	return s
}

// restoreImportedEvents is the inverse of snapshotImported. It reports whether all events are valid.
func (r *recoveryStore) restoreImportedEvents(state *recoveryState, s *importedSnapshot) bool {
	i := &importedEvents{offset: s.Offset, after: s.After, count: s.Count, at: s.At, got: make(map[uint64]struct{})}
	for _, event := range s.Events {
		m, err := event.message(r.namespace.restoreMessage)
		if err != nil {
			return false
		}
		i.messages = append(i.messages, m)
	}
	for _, number := range s.Got {
		i.got[number] = struct{}{}
	}
	r.addImported(state, i)
	return true
}

// pruneImported drops imported events that are too old or too many.
func (r *recoveryStore) pruneImported() {
	before, n := r.cutoff(), 0
	for ; n < len(r.imported) && (r.importedBytes > maxImported || r.imported[n].at.Before(before)); n++ {
		r.dropImported(r.imported[n])
		r.imported[n] = nil
	}
	if r.imported = r.imported[n:]; len(r.imported) == 0 {
		r.imported = nil
	}
}

// dropImported drops imported events, which may be nil.
func (r *recoveryStore) dropImported(i *importedEvents) {
	if i != nil {
		r.importedBytes -= i.bytes
		i.messages, i.bytes = nil, 0
	}
}

// missing returns the imported events that a client has not got, which has got n. It reports false if
// they are not held any more. I may be nil.
func (i *importedEvents) missing(n int) ([]*Message, bool) {
	switch {
	case i == nil || n > i.count:
		return nil, false
	case n == i.count:
		return nil, true
	case i.messages == nil:
		return nil, false
	}
	return slices.Clip(i.messages[n:]), true
}

// missedImported returns the imported events that the client has not got, and the number of the last
// event of the history that it has got. It reports false if that is not known.
func (r *recoveryStore) missedImported(state *recoveryState, offset string) (missed []*Message, number uint64, ok bool) {
	if i := state.imported; i != nil && i.offset == offset {
		missed, ok = i.missing(0)
		return missed, i.after, ok
	}
	at, ok := r.history.place(offset)
	if !ok || at.imported == 0 {
		return nil, at.number, ok
	}
	if i := state.imported; i == nil || i.after != at.number {
		return nil, 0, false
	}
	missed, ok = state.imported.missing(at.imported)
	return missed, at.number, ok
}
