package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// The waits between attempts of a request that a client waits for.
const (
	firstWait = 25 * time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// ask sends a request until the backend has received it, or ctx ends. Where nobody knows
// whether it has been received, the options decide whether it is sent again.
func (b *Handler) ask(ctx context.Context, r *request) (*reply, error) {
	answer, err := b.send(ctx, r, 1)
	if err != nil {
		return b.askAgain(ctx, r, err)
	}
	return answer, nil
}

// askAgain is ask for a request whose first attempt has failed.
func (b *Handler) askAgain(ctx context.Context, r *request, failed error) (answer *reply, err error) {
	received := false // perhaps, by an attempt so far
	for attempt, wait := 2, firstWait; ; attempt, wait = attempt+1, min(2*wait, lastWait) {
		again := b.again(failed)
		if f, ok := errors.AsType[*failure](failed); ok {
			if received = received || f.sent == sentUnknown; received {
				f.sent = sentUnknown
			}
		}
		if !again {
			return nil, failed
		}
		select {
		case <-time.After(wait/2 + mathrand.N(wait/2)):
		case <-ctx.Done():
			return nil, failed
		}
		if answer, failed = b.send(ctx, r, attempt); failed == nil {
			return answer, nil
		}
	}
}

// A failure is an attempt that got no answer.
type failure struct {
	sent string
	err  error
}

// What is known of a request that got no answer.
const (
	sentNo      = "no" // no backend can have received anything of it
	sentUnknown = "unknown"
)

// Error implements error.
func (f *failure) Error() string { return f.err.Error() }

// Unwrap lets errors.Is and errors.As look at what went wrong.
func (f *failure) Unwrap() error { return f.err }

// sentOf returns what is known of a request that failed, for the log.
func sentOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.sent
	}
	return "yes" // and it was answered
}

// again reports whether a request that failed may be sent again.
func (b *Handler) again(err error) bool {
	sent := sentOf(err)
	return sent == sentNo || sent == sentUnknown && b.options.RetryUnknown
}

// notSent reports whether an error of the transport says that nothing of a request
// has reached the backend.
func notSent(err error) bool {
	if errors.Is(err, ErrNotSent) {
		return true
	}
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// send makes one attempt, as soon as there is a slot and no pause.
func (b *Handler) send(ctx context.Context, r *request, attempt int) (*reply, error) {
	class := classOf(r.kind)
	if err := b.awaitTurn(ctx, class, r.event); err != nil {
		return nil, &failure{sentNo, err}
	}
	defer b.slots.give(class, r.event)
	if b.batches != nil && class != connects {
		return b.batches.send(ctx, r, attempt)
	}
	return b.sendAlone(ctx, r, attempt)
}

// sendAlone makes one attempt, by a request of the message's own.
func (b *Handler) sendAlone(ctx context.Context, r *request, attempt int) (*reply, error) {
	began := b.options.Meter.begin(1)
	answer, err := b.sendOnce(ctx, r, attempt)
	b.options.Meter.end(r.kind, began, err != nil || answer.status >= 500)
	return answer, err
}

// sendOnce is sendAlone for a message that the meter knows.
func (b *Handler) sendOnce(ctx context.Context, r *request, attempt int) (*reply, error) {
	at := time.Now()
	answer := new(reply)
	err := b.post(withPeer(ctx, r.peer), &post{r.id, at, r.body(attempt, at), r.peer, r.header}, answer.begin)
	if err != nil {
		return nil, failureOf(err, answer.status != 0)
	}
	b.heed(answer)
	return answer, nil
}

// heed begins a pause if a good answer asks for one.
func (b *Handler) heed(answer *reply) {
	if answer.good() {
		b.pause.begin(answer.retryAfter(maxPause))
	}
}

// A post is a request on its way to the backend.
type post struct {
	id     string
	at     time.Time
	body   []byte
	peer   realtime.Peer
	header http.Header // nil: none beside its own
}

// post sends a request, and passes the answer on while it comes. The error is that of the
// transport.
func (b *Handler) post(ctx context.Context, p *post, begin func(status int, header http.Header) io.Writer) error {
	if b.badURL != nil {
		return fmt.Errorf("making request: %w", b.badURL)
	}
	out := b.blank.WithContext(ctx)
	out.Header = b.header(p)
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(p.body)), int64(len(p.body))
	return stream(b.options.Transport, out, p.body, begin)
}

// header returns the header of a request.
func (b *Handler) header(p *post) http.Header {
	header := p.header.Clone() // handlers may change it
	if header == nil {
		header = make(http.Header, maxOwnHeaders)
	}
	values := make([]string, 0, maxOwnHeaders)
	set := func(name, value string) { // a name in its canonical form
		values = append(values, value)
		last := len(values) - 1
		header[name] = values[last:len(values):len(values)]
	}
	set("Content-Type", "application/json")
	set("User-Agent", "caddy-realtime")
	set("Traceparent", traceparent())
	if p.peer.ClientIP != "" {
		set("X-Forwarded-For", p.peer.ClientIP)
	}
	set("X-Forwarded-Proto", scheme(p.peer.Secure))
	set("X-Forwarded-Host", p.peer.Host)
	sign(set, b.options.Secrets, p.id, p.at, p.body)
	return header
}

// maxOwnHeaders is how many headers a request has beside those that are passed on.
const maxOwnHeaders = 9

// awaitTurn blocks until a request may be sent. Then the request has a slot, which must
// be given back. A pause may begin while the request waits for the slot.
func (b *Handler) awaitTurn(ctx context.Context, c class, name string) error {
	for {
		if err := b.pause.wait(ctx); err != nil {
			return fmt.Errorf("backend is about to stop: %w", err)
		}
		if err := b.slots.take(ctx, c, name); err != nil {
			return fmt.Errorf("too many requests in flight: %w", err)
		}
		if b.pause.left() == 0 {
			return nil
		}
		b.slots.give(c, name)
	}
}

// failureOf returns the failure for an error of post: begun says whether an answer had begun.
func failureOf(err error, begun bool) error {
	if bad, ok := errors.AsType[*wrongAnswer](err); ok {
		return bad
	}
	switch {
	case begun:
		return &failure{sentUnknown, fmt.Errorf("reading answer: %w", err)}
	case notSent(err):
		return &failure{sentNo, fmt.Errorf("asking backend: %w", err)}
	}
	return &failure{sentUnknown, fmt.Errorf("asking backend: %w", err)}
}

func scheme(secure bool) string {
	if secure {
		return "https"
	}
	return "http"
}

// traceparent begins a trace that nobody has asked to be recorded.
// https://www.w3.org/TR/trace-context/#traceparent-header
func traceparent() string {
	var ids [24]byte
	_, _ = rand.Read(ids[:]) // never fails
	text := append(make([]byte, 0, 55), "00-"...)
	text = append(hex.AppendEncode(text, ids[:16]), '-')
	text = append(hex.AppendEncode(text, ids[16:]), "-00"...)
	return string(text)
}
