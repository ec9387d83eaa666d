package caddy

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
	"regexp"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// An attempt is a request's way through the handlers. When it has failed it knows
// whether a backend may have received anything of the request. These are proof
// that none has: no connection could be made, or nothing was taken of what was
// written, or HTTP/2 said that the request was not looked at. All else is an
// unknown outcome.
type attempt struct {
	mu     sync.Mutex
	phase  phase
	conn   *watchedConn // that the request has, perhaps with others; nil: one that does not count
	before uint64       // bytes that were written to it before
	sent   bool         // something may have been received, by some backend
}

// A phase is what is known of the connection of an attempt.
type phase int

const (
	untraced phase = iota // nothing: another transport than that of HTTP
	dialing               // it is being made, or waited for
	holding               // the request has one
)

// trace returns a context by which the transports of HTTP tell the attempt what
// they do.
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

// settle notes whether the request was sent on the connection that it had. The
// caller holds the mutex.
func (a *attempt) settle() {
	if a.phase == holding && (a.conn == nil || a.conn.written.Load() != a.before) {
		a.sent = true
	}
}

// unsent reports whether no backend can have received anything of the request. It
// must be called when the handlers have returned, with the context that they had
// and their error.
func (a *attempt) unsent(ctx context.Context, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil && a.phase == holding {
		return false // what has been given up may still be written
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

// The errors of HTTP/2 that say that a stream was not looked at: it was refused,
// or is above the last one that a GOAWAY names. The transport would send the
// request again by itself, if it could read the body again.
var unseen = regexp.MustCompile(`^http2: Transport: cannot retry err \[(stream error: stream ID \d+; REFUSED_STREAM(; received from peer)?` +
	`|http2: Transport received Server's graceful shutdown GOAWAY|http2: client conn not usable)\] after Request\.Body was written; define Request\.GetBody to avoid this error$`)

func refusedStream(err error) bool { return says(err, unseen.MatchString) }

// says reports whether an error, or one that it wraps, has a text: those of the
// handlers have no type or variable to know them by. Errors around them may quote
// what a backend has sent, and so only the whole text counts.
func says(err error, text func(string) bool) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if text(err.Error()) {
			return true
		}
	}
	return false
}
