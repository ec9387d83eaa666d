package webhook

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
)

// maxLine is the size of the largest line, in bytes: an answer, its id and its status.
const maxLine = maxAnswer + 1<<10

// A batchAnswer is the answer to a batch, while it comes. A good one has a line for each
// message, or is a JSON object that has them in a list. Any other is the answer to each
// message.
type batchAnswer struct {
	batches *batches
	batch   *batch
	reply   reply // its body is empty if there are lines
	lines   bool
	partial []byte // of the line that has not come as a whole
}

// begin is called when the answer begins.
func (a *batchAnswer) begin(status int, header http.Header) io.Writer {
	a.reply.begin(status, header)
	a.batches.handler.heed(&a.reply)
	if !a.reply.good() {
		return &a.reply
	}
	media, _, _ := mime.ParseMediaType(a.reply.header.contentType)
	switch media {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines":
		a.lines = true
		return a
	}
	return &a.reply
}

// Write implements io.Writer. What is answered by lines that come together leaves together.
func (a *batchAnswer) Write(p []byte) (int, error) {
	in := newHeld()
	rest := p
	for {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		if len(a.partial)+len(line) > maxLine {
			in.release()
			return 0, wrong("has a line of more than %d bytes", maxLine)
		}
		if !ended {
			a.partial = append(a.partial, line...)
			break
		}
		if len(a.partial) > 0 {
			line = append(a.partial, line...)
			a.partial = nil
		}
		a.take(line, in)
		rest = after
	}
	in.release() // before the next batch begins, which has more to take then
	// If nothing is missing, the request is about to end, and its goroutine sends the next batch.
	if len(rest) < len(p) && !a.batch.settled() {
		a.batches.startNext(a.batch.gathering, a.batch.trip)
	}
	return len(p), nil
}

// end gives all messages that have no line what they get instead. err is that of the
// transport.
func (a *batchAnswer) end(err error) {
	in := newHeld()
	defer in.release()
	rest := func() (*reply, error) { return nil, &failure{sentUnknown, errNoLine} }
	switch {
	case err != nil:
		rest = func() (*reply, error) { return nil, failureOf(err, a.reply.status != 0) }
	case !a.reply.good():
		rest = func() (*reply, error) {
			r := a.reply
			r.held = in.use()
			return &r, nil
		}
	case a.lines:
		a.take(a.partial, in)
	default:
		if bad := a.takeResults(in); bad != nil {
			rest = func() (*reply, error) { return nil, bad }
		}
	}
	if a.batch.settled() {
		return
	}
	for _, m := range a.batch.messages {
		r, err := rest()
		a.settle(m, r, err)
	}
}

// settle gives a message what became of it, if it is open, and returns what it was before.
func (a *batchAnswer) settle(m *batched, r *reply, err error) batchedState {
	before := a.batch.settle(m, r, err)
	if before != open && r != nil {
		r.held.release()
	}
	return before
}

// takeResults takes an answer that is a JSON object.
func (a *batchAnswer) takeResults(in *held) *wrongAnswer {
	body := trimmed(a.reply.body)
	if len(body) == 0 {
		return wrong("to a batch must not be empty: does the backend know batches?")
	}
	if !utf8.Valid(body) || !rawjson.Valid(body) {
		return wrong("to a batch must be application/x-ndjson, or JSON")
	}
	for name, value := range rawjson.Members(body) {
		if !rawjson.Named(name, "results") || isNull(value) {
			continue
		}
		list, err := listOf(value, len(a.batch.messages)+maxNames)
		if err != nil {
			return err.within("results")
		}
		for _, element := range list {
			a.take(element, in)
		}
		return nil
	}
	return wrong("to a batch must have results: does the backend know batches?")
}

// trimmed returns a text without what may be around it.
func trimmed(text []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff"))) // Some editors and libraries put it in front.
}

// take takes the answer to one message: {"id":"…","status":200,"body":{…}}. It keeps nothing
// of line.
func (a *batchAnswer) take(line []byte, in *held) {
	line = trimmed(line)
	if len(line) == 0 {
		return
	}
	if !utf8.Valid(line) || !rawjson.Valid(line) || !rawjson.Object(line) {
		a.ignore("it is no JSON object", "")
		return
	}
	var id, status, body json.RawMessage
	for name, value := range rawjson.Members(line) {
		switch {
		case rawjson.Named(name, "id"):
			id = value
		case rawjson.Named(name, "status"):
			status = value
		case rawjson.Named(name, "body"):
			body = value
		}
	}
	m := a.batch.message(id)
	if m == nil {
		text, _ := rawjson.Unquote(id)
		a.ignore("the batch has no message with this id", text)
		return
	}
	r, err := a.replyOf(status, body), error(nil)
	if r == nil {
		err = wrong("must be a number from 200 to 599").within("status")
	} else {
		r.held = in.use()
	}
	if a.settle(m, r, err) == answered {
		a.ignore("the message has an answer already", m.request.id)
	}
}

// replyOf returns the reply that a line is; nil if its status is none. Its body may outlive
// the line.
func (a *batchAnswer) replyOf(status, body json.RawMessage) *reply {
	r := &reply{status: http.StatusOK, header: a.reply.header, valid: true}
	if !isNull(status) {
		r.status, _ = strconv.Atoi(string(bytes.Trim(status, `"`)))
	}
	if r.status < 200 || r.status > 599 {
		return nil
	}
	if !isNull(body) {
		r.body = bytes.Clone(body)
	}
	return r
}

// ignore logs that a line is left out.
func (a *batchAnswer) ignore(why, id string) {
	a.batches.handler.options.Logger.Warn("a line of the answer to a batch is left out", zap.String("why", why), zap.String("id", quote(id)))
}
