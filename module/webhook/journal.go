package webhook

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// What a journal takes upon itself.
const (
	saveEvery   = time.Second      // how often changes are written, and so what a crash loses
	aliveEvery  = 5 * time.Second  // how often a journal says that it is being continued
	saveTimeout = 10 * time.Second // how long one writing may take
	lastResave  = time.Minute      // between attempts, while the storage fails

	maxSegment = 1 << 20  // bytes of a value, as far as records are smaller
	maxState   = 64 << 10 // bytes of a socket's state; more is not kept
)

// A debt is one disconnect that the backend will have to be told of: of a socket
// that is there, or of one that is gone. All but its id is guarded by the queue.
type debt struct {
	id string // of the message

	// One of these, until it is paid.
	socket    *realtime.Socket // is there
	newcomer  *newcomer        // will be one soon
	departure *departure       // was one

	dirty       bool
	paid        bool
	first, last uint64 // of the numbers of segments that may have it; 0: none has
	size        int    // of its record
}

// A newcomer is a client that the backend has let in, and that has no socket yet.
type newcomer struct {
	data departureData
	peer realtime.Peer
}

// A journal has debts survive the process. Changes are collected as they come,
// and written a little later, as a segment; segments that have become small
// beside what comes after them are written anew along with it, so that there are
// few, and that what is written in all is in proportion to what has changed, times
// the logarithm of what there is.
type journal struct {
	// Guarded by the queue's mutex.
	run     string           // identifies it; "" while there is none
	sockets map[string]*debt // of those that are not gone, by the socket's id
	owed    int              // debts that are not paid
	full    bool             // and it has been logged

	changed []*debt   // to be written
	paid    []payment // to be written

	// Guarded by the queue's saving.
	kept    []*written
	number  uint64 // of the last segment
	storage Storage
	mark    []byte    // what says that it is being continued; nil: nothing does
	marked  time.Time // when that was written
	doomed  []string  // names to be removed, in this order: a payment must outlive its debt
	recall  recall
}

// A payment has a debt forgotten that segments may have.
type payment struct {
	id    string
	first uint64 // the first one of these
	size  int    // of what it makes worthless
}

// written is what is known of segments that were written together.
type written struct {
	first, last uint64 // their numbers
	weight      int    // bytes, with those elsewhere that have become worthless by it
	debts       []*debt
	paid        []payment
}

// newDebt returns one that is to be written; nil if the debt would be too much, or
// there is nowhere to write. The caller holds the mutex.
func (q *Queue) newDebt() *debt {
	j := &q.journal
	if j.run == "" || j.owed >= 2*maxWaiting {
		return nil
	}
	j.owed++
	d := &debt{id: newMessageID()}
	q.touch(d)
	return d
}

// touch has a debt written. The caller holds the mutex.
func (q *Queue) touch(d *debt) {
	if !d.dirty {
		d.dirty = true
		q.journal.changed = append(q.journal.changed, d)
	}
	q.stir()
}

// pay has a debt forgotten, which may be nil. The caller holds the mutex.
func (q *Queue) pay(d *debt) {
	if d == nil || d.paid {
		return
	}
	j := &q.journal
	j.owed--
	d.paid = true
	d.socket, d.newcomer, d.departure = nil, nil, nil
	if d.first != 0 {
		j.paid = append(j.paid, payment{d.id, d.first, d.size})
	}
	q.stir()
}

// enlist returns the debt of a socket that is not gone; nil where none is kept.
// The caller holds the mutex.
func (q *Queue) enlist(id string) *debt {
	j := &q.journal
	if d := j.sockets[id]; d != nil {
		return d
	}
	if len(j.sockets) >= maxWaiting {
		if !j.full && len(q.backends) > 0 {
			j.full = true
			q.newest().backend.options.Logger.Warn("there are too many sockets for the backend to learn of all of them, should this process be killed", zap.Int("limit", maxWaiting))
		}
		return nil
	}
	d := q.newDebt()
	if d != nil {
		j.sockets[id] = d
	}
	return d
}

// expect notes that the backend has let a client in.
func (q *Queue) expect(namespace string, h *realtime.Handshake, a *answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.journal.run == "" {
		return
	}
	if d := q.enlist(h.SocketID); d != nil {
		d.newcomer = &newcomer{dataOfClient(namespace, h, a), peerOf(h)}
	}
}

// connected notes that a socket is there.
func (q *Queue) connected(s *realtime.Socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.enlist(s.ID()); d != nil {
		d.newcomer, d.socket = nil, s
		q.touch(d)
	}
}

// changed notes that a socket has another state than before.
func (q *Queue) changed(s *realtime.Socket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.journal.sockets[s.ID()]; d != nil {
		q.touch(d)
	}
}

// Adopt notes that a socket is there which had connected before the backend was
// attached. It must be told when the backend is among the handlers.
func (q *Queue) Adopt(s *realtime.Socket) {
	q.mu.Lock()
	known := q.journal.sockets[s.ID()] != nil
	q.mu.Unlock()
	if known {
		return
	}
	q.connected(s)
	if present, ok := s.Namespace().Socket(s.ID()); ok && present == s {
		return // should it go now, HandleDisconnect is called
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if d := q.journal.sockets[s.ID()]; d != nil && d.socket == s {
		delete(q.journal.sockets, s.ID())
		q.pay(d)
	}
}

// depart makes a debt of a departure: that of its socket, or a new one. The
// caller holds the mutex.
func (q *Queue) depart(d *departure) {
	debt := q.journal.sockets[d.data.Socket.ID]
	if debt == nil {
		debt = q.newDebt()
	}
	if debt != nil {
		delete(q.journal.sockets, d.data.Socket.ID)
		q.owe(debt, d)
	}
	if d.id == "" {
		d.id = newMessageID()
	}
}

// owe makes a debt that of a departure. The caller holds the mutex.
func (q *Queue) owe(debt *debt, d *departure) {
	debt.socket, debt.newcomer, debt.departure = nil, nil, d
	d.debt, d.id = debt, debt.id
	q.touch(debt)
}

// A draft is what is about to be written.
type draft struct {
	replaces []*written
	first    uint64 // the number of its first segment
	debts    []*debt
	sources  []source // of the debts, in the same order
	sizes    []int    // and of their records
	paid     []payment
	fresh    []payment // of which no segment has any yet
	oldest   uint64    // the number of the first segment among replaces; first without any
}

// A source is what a record is made of, outside of the mutex.
type source struct {
	id     string
	due    time.Time
	socket *realtime.Socket // nil if it is gone, or was not there yet
	peer   realtime.Peer
	data   departureData
	told   json.RawMessage // what has been said, instead of data
}

// source returns what a debt's record is made of. The caller holds the mutex.
func (d *debt) source() source {
	switch {
	case d.newcomer != nil:
		return source{id: d.id, peer: d.newcomer.peer, data: d.newcomer.data}
	case d.departure == nil:
		return source{id: d.id, socket: d.socket}
	case d.departure.told == nil:
		return source{id: d.id, due: d.departure.due, peer: d.departure.peer, data: d.departure.data}
	}
	return source{id: d.id, due: d.departure.due, peer: d.departure.peer, told: d.departure.told}
}

// collect returns what there is to write; nil if nothing is. The caller holds
// saving and the mutex.
func (j *journal) collect() *draft {
	d := &draft{first: j.number + 1, debts: j.changed, paid: slices.Clone(j.paid), fresh: j.paid}
	j.changed, j.paid = nil, nil
	d.debts = slices.DeleteFunc(d.debts, func(debt *debt) bool { return debt.paid })
	if len(d.debts) == 0 && len(d.paid) == 0 {
		return nil
	}
	const (
		guess    = 300 // bytes of a record that there has not been
		overhead = 200 // of a segment without any
	)
	weight := overhead
	for _, debt := range d.debts {
		debt.dirty, debt.last = false, d.first
		weight += max(debt.size, guess)
	}
	for _, p := range d.paid {
		weight += p.size
	}
	n := len(j.kept)
	for n > 0 && j.kept[n-1].weight <= 2*weight { // so that each is more than twice what follows it
		n--
		weight += j.kept[n].weight
	}
	d.replaces = slices.Clone(j.kept[n:])
	d.oldest = d.first
	for _, w := range d.replaces {
		d.oldest = min(d.oldest, w.first)
		for _, debt := range w.debts {
			if !debt.paid && w.first <= debt.last && debt.last <= w.last { // not written anew since
				debt.last = d.first
				d.debts = append(d.debts, debt)
			}
		}
		d.paid = append(d.paid, w.paid...)
	}
	for _, debt := range d.debts {
		if debt.first == 0 {
			debt.first = d.first
		}
	}
	all := n == 0 && len(j.doomed) == 0
	d.paid = slices.DeleteFunc(d.paid, func(p payment) bool { return all && len(d.replaces) > 0 || p.first >= d.oldest })
	d.sources = make([]source, len(d.debts))
	for i, debt := range d.debts {
		d.sources[i] = debt.source()
	}
	return d
}

// segments returns the values to write: as many as it takes.
func (d *draft) segments(run string, at time.Time) [][]byte {
	var values [][]byte
	var lines []byte
	n := 0
	cut := func() {
		s := segment{run: run, at: at}
		values = append(values, s.appendLines(make([]byte, 0, len(lines)+200), lines, n))
		lines, n = lines[:0], 0
	}
	add := func(r record) int {
		before := len(lines)
		lines = appendRecord(lines, &r)
		size := len(lines) - before
		if n++; len(lines) >= maxSegment {
			cut()
		}
		return size
	}
	d.sizes = make([]int, len(d.sources))
	for i := range d.sources {
		d.sizes[i] = add(d.sources[i].record())
	}
	for _, p := range d.paid {
		add(record{id: p.id})
	}
	if n > 0 || len(values) == 0 {
		cut()
	}
	return values
}

func (s *source) record() record {
	if s.told != nil {
		return record{s.id, s.due, s.peer, s.told}
	}
	peer, data := s.peer, s.data
	if s.socket != nil {
		peer, data = s.socket.Peer(), dataOf(s.socket)
	}
	size := 0
	for _, value := range data.State {
		size += len(value)
	}
	if size > maxState || data.State == nil {
		data.State = map[string]json.RawMessage{}
	}
	return record{s.id, s.due, peer, encode(data)}
}

// commit notes that a draft has been written. The caller holds saving and the
// mutex.
func (j *journal) commit(d *draft, values [][]byte) {
	w := &written{first: d.first, last: d.first + uint64(len(values)) - 1, debts: d.debts, paid: d.paid}
	for i, debt := range d.debts {
		debt.size = d.sizes[i]
		if debt.first >= d.oldest {
			debt.first = d.first
		}
	}
	for _, value := range values {
		w.weight += len(value)
	}
	for _, p := range d.paid {
		w.weight += p.size
	}
	j.number = w.last
	j.kept = append(j.kept[:len(j.kept)-len(d.replaces)], w)
	for _, old := range d.replaces {
		j.doom(old)
	}
}

// revoke notes that a draft could not be written, though some of its values may
// have been. The caller holds saving and the mutex.
func (q *Queue) revoke(d *draft, values int) {
	j := &q.journal
	j.number += uint64(values)
	j.doom(&written{first: d.first, last: j.number})
	for _, debt := range d.debts {
		if debt.first == d.first {
			debt.first = 0
		}
		if !debt.paid {
			q.touch(debt)
		}
	}
	j.paid = append(j.paid, d.fresh...)
}

// doom has segments removed.
func (j *journal) doom(w *written) {
	for number := w.first; number <= w.last; number++ {
		j.doomed = append(j.doomed, segmentName(j.run, number))
	}
}

// segmentName returns the name of a value: the journal's, and the number in
// hexadecimal, so that names are in order.
func segmentName(run string, number uint64) string { return fmt.Sprintf("%s-%016x", run, number) }

// markName returns the name of the value that says that a journal is being
// continued.
func markName(run string) string { return run + "-alive" }

// parseName returns which journal a value is of, and its number; 0 for the mark.
func parseName(name string) (run string, number uint64, ok bool) {
	if len(name) < randIDLength || !isRandID(name[:randIDLength]) {
		return "", 0, false
	}
	run = name[:randIDLength]
	if name == markName(run) {
		return run, 0, true
	}
	rest, cut := strings.CutPrefix(name[randIDLength:], "-")
	number, err := strconv.ParseUint(rest, 16, 64)
	return run, number, cut && err == nil && number > 0 && name == segmentName(run, number)
}
