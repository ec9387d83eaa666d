package realtime

import (
	"strconv"
	"time"
	"unsafe"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// maxHistoryBytes is how many bytes the history of one namespace takes. Encodings of its messages
// do not count: they are dropped, and made again for clients that recover.
const maxHistoryBytes = 32 << 20

// recordSize is about how many bytes a record takes besides its message and target. The slice of
// records has room to grow, so each counts twice.
const recordSize = 2 * int(unsafe.Sizeof(record{}))

// A history holds the last events of a namespace, numbered from 1, so that clients that recover get
// those they missed. To change it, hold the mutexes of the recovery store and, at least for
// reading, of the namespace. To read it, hold either.
type history struct {
	epoch   string // a random id: offsets of other histories do not match
	last    uint64 // the number of the newest event
	records []record
	bytes   int
}

// A record is an event and its target.
type record struct {
	message *Message
	to      target
	at      time.Time
	earlier []uint64 // the numbers of other copies of it; who has got any of them does not get this one
	origin  *origin  // nil if no other node can have recorded the event
}

func newHistory() history { return history{epoch: randid.New()[:8]} }

// append adds a message that is about to be delivered, and gives it its offset. The arguments must
// be compact. It returns the new record.
func (h *history) append(m *Message, to target) *record {
	h.last++
	offset := h.epoch + "." + strconv.FormatUint(h.last, 36)
	m.offset = &offset
	r := record{message: m, to: to, at: time.Now()}
	h.records = append(h.records, r)
	h.bytes += r.size()
	return &h.records[len(h.records)-1]
}

// floor returns the number of the newest event that is not held: all later ones are.
func (h *history) floor() uint64 { return h.last - uint64(len(h.records)) }

// after returns the records of all events after a number, which must not be below the floor.
func (h *history) after(number uint64) []record { return h.records[number-h.floor():] }

// at returns the record of the event with a number; nil if it is not held.
func (h *history) at(number uint64) *record {
	if floor := h.floor(); number > floor && number <= h.last {
		return &h.records[number-floor-1]
	}
	return nil
}

// setEarlier says of which events the newest one is a copy.
func (h *history) setEarlier(numbers []uint64) {
	if r := h.at(h.last); r != nil {
		r.earlier = numbers
	}
}

// prune removes the events before a time, and the oldest of too many or too large ones.
func (h *history) prune(before time.Time, maxEvents int) {
	n := 0
	for n < len(h.records) && (h.bytes > maxHistoryBytes || len(h.records)-n > maxEvents || h.records[n].at.Before(before)) {
		h.bytes -= h.records[n].size()
		n++
	}
	clear(h.records[:n]) // the array lives on for a while
	h.records = h.records[n:]
	if len(h.records) == 0 {
		h.records = nil
	}
}

func (r *record) size() int { return recordSize + r.message.size() + r.to.size() }
