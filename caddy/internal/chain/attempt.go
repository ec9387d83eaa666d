package chain

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"regexp"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// An attempt is a request's way through the handlers. Once it has failed, it knows whether a
// backend may have received any of the request. Each of these proves that none has:
//
//   - No connection could be made.
//   - Of what was written, nothing was taken.
//   - HTTP/2 said that the backend did not look at the request.
//
// Otherwise the outcome is unknown.
type attempt struct {
	mu     sync.Mutex
	phase  phase
	conn   *watchedConn // the connection of the request, and maybe of others; nil if it does not count
	before uint64       // bytes that had been written to conn before
	sent   bool         // some backend may have received some of the request
}

// A phase is what is known of an attempt's connection.
type phase int

const (
	untraced phase = iota // nothing: the transport is not one of HTTP
	dialing               // it is being made, or waited for
	holding               // the request has one
)

// trace returns a context through which HTTP transports tell the attempt what they do.
func (a *attempt) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: a.getConn, GotConn: a.gotConn})
}

func (a *attempt) getConn(string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	a.phase = dialing
}

func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	a.phase = holding
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if a.conn, _ = conn.(*watchedConn); a.conn != nil {
		a.before = a.conn.written.Load()
	}
}

// settle notes whether the request was sent over the connection that it had. The caller holds
// the mutex.
func (a *attempt) settle() {
	if a.phase == holding && (a.conn == nil || a.conn.written.Load() != a.before) {
		a.sent = true
	}
}

// unsent reports whether no backend can have received any of the request. It is called when the
// handlers have returned, with the context that they had and their error.
func (a *attempt) unsent(ctx context.Context, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil && a.phase == holding {
		return false // the transport may still write what was given up
	}
	if !refusedStream(err) {
		a.settle()
	}
	switch {
	case a.sent:
		return false
	case a.phase != untraced || refusedStream(err):
		return true
	}
	if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
		return true
	}
	return says(err, func(text string) bool { return text == "no upstreams available" })
}

// unseen matches the errors of HTTP/2 which say that a backend did not look at a stream: it was
// refused, or is above the last one that a GOAWAY names. The transport would send the request
// again by itself, if it could read the body again.
var unseen = regexp.MustCompile(`^http2: Transport: cannot retry err ` +
	`\[(stream error: stream ID \d+; REFUSED_STREAM(; received from peer)?` +
	`|http2: Transport received Server's graceful shutdown GOAWAY|http2: client conn not usable)\] ` +
	`after Request\.Body was written; define Request\.GetBody to avoid this error$`)

func refusedStream(err error) bool { return says(err, unseen.MatchString) }

// says reports whether an error, or one that it wraps, has a text. The handlers' errors have no
// type or variable to compare with. An error may quote what a backend has sent, so only a whole
// text counts.
func says(err error, text func(string) bool) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if text(err.Error()) {
			return true
		}
	}
	return false
}
