package socketio

import (
	"bytes"
	"sync"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// An assembly holds a packet until its attachments have come. Together, they may be as large as
// one message. Each attachment must come in time. A client has one assembly at a time. Only the
// client's Receive uses it, except for the timer.
type assembly struct {
	packet   header // of kind 0 if no attachment is awaited
	received [][]byte
	size     int64 // of the packet and the attachments, in bytes

	mu      sync.Mutex
	due     time.Time   // when the next attachment is late; zero if none is awaited
	timer   *time.Timer // nil until the first is awaited
	running bool        // the timer runs; it may fire before due, and then runs on
	closed  bool
}

// awaits reports whether an attachment is awaited.
func (a *assembly) awaits() bool { return a != nil && a.packet.kind != 0 }

// begin holds a packet that has attachments.
func (a *assembly) begin(h header) {
	a.packet, a.size = h, int64(len(h.data))
	a.received = make([][]byte, 0, h.attachments)
}

// add takes the next attachment. The error is a *realtime.LimitError.
func (a *assembly) add(attachment []byte, payload int64) error {
	if a.size += int64(len(attachment)); a.size > payload {
		return &realtime.LimitError{Name: "payload", Max: payload}
	}
	a.received = append(a.received, attachment)
	return nil
}

func (a *assembly) complete() bool { return len(a.received) == a.packet.attachments }

// end returns what is held, and holds nothing afterwards.
func (a *assembly) end() (packet header, attachments [][]byte) {
	packet, attachments = a.packet, a.received
	a.packet, a.received, a.size = header{}, nil, 0
	a.stop()
	return packet, attachments
}

// wait calls late after the timeout, unless wait or end is called before.
func (a *assembly) wait(timeout time.Duration, late func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due = time.Now().Add(timeout)
	switch {
	case a.running || a.closed:
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(timeout, func() {
			if a.check() {
				late()
			}
		})
	default:
		a.timer.Reset(timeout)
	}
	a.running = true
}

// check reports whether an attachment is late. The timer calls it.
func (a *assembly) check() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running = false
	if a.due.IsZero() || a.closed {
		return false
	}
	left := time.Until(a.due)
	if left > 0 {
		a.timer.Reset(left)
		a.running = true
	}
	return left <= 0
}

func (a *assembly) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.due = time.Time{}
}

// close stops the timer for good. The assembly may be nil.
func (a *assembly) close() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// clone returns a header that shares no memory with the message it came in.
func (h header) clone() header {
	h.data = bytes.Clone(h.data)
	return h
}
