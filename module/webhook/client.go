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
)

// The waits between attempts of a request that a client waits for.
const (
	firstWait = 25 * time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// ask sends a request until it has been sent, or ctx ends.
func (b *Backend) ask(ctx context.Context, r *request) (*reply, error) {
	for attempt, wait := 1, firstWait; ; attempt, wait = attempt+1, min(2*wait, lastWait) {
		answer, err := b.send(ctx, r, attempt)
		if err == nil || !notSent(err) {
			return answer, err
		}
		select {
		case <-time.After(wait/2 + mathrand.N(wait/2)):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// notSent reports whether nothing of a request has reached the backend.
func notSent(err error) bool {
	if errors.Is(err, ErrNotSent) {
		return true
	}
	dial, ok := errors.AsType[*net.OpError](err)
	return ok && dial.Op == "dial"
}

// send makes one attempt, when there is room for it.
func (b *Backend) send(ctx context.Context, r *request, attempt int) (*reply, error) {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("too many requests in flight: %w", context.Cause(ctx))
	}
	at := time.Now()
	body := r.body(attempt, at)
	out, err := http.NewRequestWithContext(ctx, http.MethodPost, b.options.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	if r.header != nil {
		out.Header = r.header.Clone() // handlers may change it
	}
	out.Header.Set("Content-Type", "application/json")
	out.Header.Set("User-Agent", "caddy-realtime")
	out.Header.Set("Traceparent", traceparent())
	out.Header.Set("X-Forwarded-For", r.peer.ClientIP)
	out.Header.Set("X-Forwarded-Proto", scheme(r.peer.Secure))
	out.Header.Set("X-Forwarded-Host", r.peer.Host)
	sign(out.Header, b.options.Secrets, r.id, at, body)
	end := b.options.Meter.begin(r.kind)
	answer, err := b.exchange(out.WithContext(withPeer(ctx, r.peer)))
	end(err != nil || answer.status >= 500)
	return answer, err
}

// exchange makes a request.
func (b *Backend) exchange(out *http.Request) (*reply, error) {
	in, err := b.options.Transport.RoundTrip(out) // follows no redirect
	if err != nil {
		return nil, fmt.Errorf("asking backend: %w", err)
	}
	defer func() { _ = in.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(in.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	if len(text) > maxAnswer {
		return nil, wrong("has more than %d bytes", maxAnswer)
	}
	return &reply{in.StatusCode, text}, nil
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
	return "00-" + hex.EncodeToString(ids[:16]) + "-" + hex.EncodeToString(ids[16:]) + "-00"
}
