package realtime

import (
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// maxHistoryBytes is how many bytes the history of one namespace takes, but for the
// encodings of its messages, which are made anew for clients that come back.
const maxHistoryBytes = 32 << 20

// recordSize is about what a record takes beside its message and whom that is for:
// its place among the others, which have room to grow.
const recordSize = 2 * int(unsafe.Sizeof(record{}))

// A history holds the last events of a namespace, numbered from 1, so that
// clients who come back can have those that they missed. Who changes it holds
// the recovery's mutex, and at least for reading that of the namespace; who
// reads it holds either.
type history struct {
	epoch   string // tells this history from those of other nodes, namespaces and times
	last    uint64 // the number of the newest event
	records []record
	bytes   int
}

// A record is an event and whom it was for.
type record struct {
	message *Message
	to      audience
	at      time.Time
}

func newHistory() history { return history{epoch: randid.New()[:8]} }

// append enters a message that is about to be delivered, and gives it its
// offset. The arguments must be compact.
func (h *history) append(m *Message, to audience) {
	h.last++
	offset := h.epoch + "." + strconv.FormatUint(h.last, 36)
	m.offset = &offset
	r := record{message: m, to: to, at: time.Now()}
	h.records = append(h.records, r)
	h.bytes += r.size()
}

// floor returns the number behind which every event is held.
func (h *history) floor() uint64 { return h.last - uint64(len(h.records)) }

// after returns the records of the events behind a number that is not below the floor.
func (h *history) after(number uint64) []record { return h.records[number-h.floor():] }

// number returns which event an offset is that of, held or not. It reports
// false for one that this history has not given.
func (h *history) number(offset string) (uint64, bool) {
	epoch, digits, _ := strings.Cut(offset, ".")
	number, err := strconv.ParseUint(digits, 36, 64)
	return number, err == nil && epoch == h.epoch && number <= h.last
}

// prune forgets what happened before a time, and what is too much.
func (h *history) prune(before time.Time, maxEvents int) {
	n := 0
	for n < len(h.records) && (h.bytes > maxHistoryBytes || len(h.records)-n > maxEvents || h.records[n].at.Before(before)) {
		h.bytes -= h.records[n].size()
		n++
	}
	clear(h.records[:n]) // the array behind them lives on for a while
	h.records = h.records[n:]
	if len(h.records) == 0 {
		h.records = nil
	}
}

func (r *record) size() int { return recordSize + r.message.size() + r.to.size() }
