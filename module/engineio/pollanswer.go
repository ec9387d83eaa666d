package engineio

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/contentcoding"
)

// An answer is what a GET gets. The session's lock guards it, except for its queue, which
// belongs to the handler of the GET.
type answer struct {
	queue  []*PacketGroup
	size   int  // bytes of packets
	kept   int  // bytes that are counted as held for the client
	own    int  // bytes that are not shared, once there is a payload
	shared bool // the payload belongs to the packet group, of which there is only one
	stream *http.ResponseController
}

// answer begins an answer with what was in the queue.
func (p *polling) answer(w http.ResponseWriter, queue []*PacketGroup) *answer {
	a := &answer{queue: queue, shared: true, stream: http.NewResponseController(w)}
	for _, g := range queue {
		a.size += g.size
		a.kept += g.cost()
		g.hold(p.server.budget)
	}
	p.answers = append(p.answers, a)
	return a
}

// beginSending notes that an answer is sent as a payload.
func (s *Session) beginSending(p *polling, a *answer, payload []byte) {
	if len(a.queue) == 1 {
		return
	}
	s.life.Lock()
	defer s.life.Unlock()
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
	s.life.Lock()
	defer s.life.Unlock()
	p.slowness.Progressed()
}

// endSending ends an answer.
func (s *Session) endSending(p *polling, a *answer) {
	s.life.Lock()
	defer s.life.Unlock()
	if i := slices.Index(p.answers, a); i >= 0 {
		p.release(a)
		p.answers = slices.Delete(p.answers, i, i+1)
	}
	p.slowness.Progressed()
}

// release tells the budget that an answer holds nothing any more.
func (p *polling) release(a *answer) {
	if !a.shared {
		p.server.budget.Add(-a.own)
		return
	}
	for _, g := range a.queue {
		g.drop(p.server.budget)
	}
}

// cutAnswers ends what is being sent.
func (p *polling) cutAnswers() {
	for _, a := range p.answers {
		_ = a.stream.SetWriteDeadline(time.Now()) // if that fails, the server's own deadline is left
		p.release(a)
	}
	p.answers = nil
}

// The content types of payloads. Clients of Engine.IO 3 go by them.
const (
	contentTypeText  = "text/plain; charset=UTF-8"
	contentTypeBytes = "application/octet-stream"
)

// payload returns packet groups as the payload that answers a GET. The answer's header
// says what it is.
func (p *polling) payload(w http.ResponseWriter, r *http.Request, queue []*PacketGroup) []byte {
	h := w.Header()
	l, contentType := p.codec.textPayload, contentTypeText
	if p.codec.binaryPayload != nil && !p.base64 && hasBinary(queue) {
		l, contentType = p.codec.binaryPayload, contentTypeBytes
	}
	h.Set("Content-Type", contentType)
	payload := joined(queue, l, p.codec.separator)
	if len(payload) < p.server.options().compressPollingFrom() {
		return payload
	}
	h.Add("Vary", "Accept-Encoding")
	if contentcoding.AcceptsGzip(r.Header) {
		if zipped := zipped(queue, l, payload); len(zipped) < len(payload) {
			h.Set("Content-Encoding", "gzip") // so that no handler around this one compresses it again
			return zipped
		}
	}
	return payload
}

func hasBinary(queue []*PacketGroup) bool {
	return slices.ContainsFunc(queue, func(g *PacketGroup) bool { return g.binary })
}

// joined returns one or more groups as a payload.
func joined(queue []*PacketGroup, l *layout, separator []byte) []byte {
	if len(queue) == 1 {
		return part(queue[0], encoding{layout: l})
	}
	var payload []byte
	for i, g := range queue {
		if i > 0 {
			payload = append(payload, separator...)
		}
		payload = append(payload, part(g, encoding{layout: l})...)
	}
	return payload
}

// zipped returns the payload of groups compressed by gzip.
func zipped(queue []*PacketGroup, l *layout, payload []byte) []byte {
	if len(queue) > 1 {
		return zip(payload)
	}
	return part(queue[0], encoding{layout: l, compressFrom: 1}) // others may get it, too
}

// part returns a group as a part of a payload.
func part(g *PacketGroup, e encoding) []byte {
	parts, _ := g.encode(e)
	return parts[0]
}

// answerPiece is how many bytes of an answer are written at once. More at once would not
// show whether the client takes them.
const answerPiece = 64 << 10

// writePayload answers a GET. The header says what the payload is. It calls moved after
// each piece but the last.
func writePayload(w http.ResponseWriter, payload []byte, moved func()) error {
	h := w.Header()
	h.Set("Content-Length", strconv.Itoa(len(payload)))
	h.Set("Cache-Control", "no-store")
	for len(payload) > answerPiece {
		if _, err := w.Write(payload[:answerPiece]); err != nil {
			return err
		}
		payload = payload[answerPiece:]
		moved()
	}
	_, err := w.Write(payload)
	return err
}
