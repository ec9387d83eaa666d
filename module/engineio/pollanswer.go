package engineio

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/contentcoding"
)

// An answer is what a GET gets. It is guarded by the session's mutex, but for
// its queue, which is its handler's.
type answer struct {
	queue  []*PacketGroup
	size   int  // bytes of packets
	kept   int  // bytes that the client is counted for
	own    int  // bytes that nobody shares, once there is a payload
	shared bool // the payload is the queue's one packet group's
	stream *http.ResponseController
}

// answer begins one.
func (p *polling) answer(w http.ResponseWriter, queue []*PacketGroup) *answer {
	a := &answer{queue: queue, shared: true, stream: http.NewResponseController(w)}
	for _, b := range queue {
		a.size += b.size
		a.kept += b.held()
		b.hold(p.server.budget)
	}
	p.answers = append(p.answers, a)
	return a
}

// beginSending notes that an answer is sent as a payload.
func (s *Session) beginSending(p *polling, a *answer, payload []byte) {
	if len(a.queue) == 1 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(p.answers, a) {
		return
	}
	p.release(a)
	a.shared, a.own, a.kept = false, len(payload), len(payload)
	s.server.budget.Add(a.own)
	a.queue = nil
}

// moved notes that the client has taken something.
func (s *Session) moved(p *polling) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.pace.Moved()
}

// endSending ends an answer.
func (s *Session) endSending(p *polling, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(p.answers, a); i >= 0 {
		p.release(a)
		p.answers = slices.Delete(p.answers, i, i+1)
	}
	p.pace.Moved()
}

// release tells the budget that an answer holds nothing any more.
func (p *polling) release(a *answer) {
	if !a.shared {
		p.server.budget.Add(-a.own)
		return
	}
	for _, b := range a.queue {
		b.drop(p.server.budget)
	}
}

// cutAnswers ends what is being sent.
func (p *polling) cutAnswers() {
	for _, a := range p.answers {
		_ = a.stream.SetWriteDeadline(time.Now()) // where there is none, the server's own hold
		p.release(a)
	}
	p.answers = nil
}

// The content types of payloads. Clients of Engine.IO 3 go by them.
const (
	textPayload   = "text/plain; charset=UTF-8"
	binaryPayload = "application/octet-stream"
)

// write answers a GET of Engine.IO 3.
func (f form3) write(w http.ResponseWriter, queue ...*PacketGroup) error {
	payload, contentType := f.payload(queue)
	return writeAs(w, contentType, payload, nil)
}

// payloadFor returns the payload of groups for the answer to a GET. One of at
// least so many bytes is compressed if the client takes that, and the answer's
// headers say so.
func payloadFor(w http.ResponseWriter, r *http.Request, queue []*PacketGroup, compressFrom int) []byte {
	payload := joined(queue)
	if len(payload) < compressFrom {
		return payload
	}
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if contentcoding.AcceptsGzip(r.Header) {
		var zipped []byte
		if len(queue) == 1 {
			zipped = queue[0].zip() // which others may get, too
		} else {
			zipped = zip(payload)
		}
		if len(zipped) < len(payload) {
			h.Set("Content-Encoding", "gzip") // so that no handler around us compresses it again
			return zipped
		}
	}
	return payload
}

// joined returns one or more groups as a payload.
func joined(queue []*PacketGroup) []byte {
	if len(queue) == 1 {
		return queue[0].elements()
	}
	var payload []byte
	for _, b := range queue {
		if len(payload) > 0 {
			payload = append(payload, separator)
		}
		payload = append(payload, b.elements()...)
	}
	return payload
}

// writePayload answers a GET with a payload.
func writePayload(w http.ResponseWriter, payload []byte) error {
	return writeAs(w, textPayload, payload, nil)
}

// answerPiece is how many bytes of an answer are written at once, so that it
// shows whether the client takes them.
const answerPiece = 64 << 10

// writeAs answers a GET. It calls moved, if not nil, after each piece but the last.
func writeAs(w http.ResponseWriter, contentType string, payload []byte, moved func()) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(payload)))
	h.Set("Cache-Control", "no-store")
	for moved != nil && len(payload) > answerPiece {
		if _, err := w.Write(payload[:answerPiece]); err != nil {
			return err
		}
		payload = payload[answerPiece:]
		moved()
	}
	_, err := w.Write(payload)
	return err
}
