package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// Why a request is not forwarded.
var (
	ErrTooMany = errors.New("too many requests are being forwarded to other nodes")
	ErrAway    = errors.New("the broker is away")
)

// An Endpoint is where the clients of one endpoint connect, on all nodes that have it.
type Endpoint struct {
	forwarder *Forwarder
	name      string
}

// Endpoint returns the endpoint of a name. From now on, a handler answers the requests of other nodes
// for it, in the place of an earlier one.
func (f *Forwarder) Endpoint(name string, own http.Handler) *Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers[name] = own
	return &Endpoint{f, name}
}

// NewID returns an id for a session of this node. Whoever knows it can act as the session's client.
func (e *Endpoint) NewID() string {
	keys := e.forwarder.keys.Load()
	if keys.current == nil {
		return randid.New()
	}
	return e.forwarder.ids.make(keys.current, e.name)
}

// Owner returns what sends requests to the node that owns a session, on behalf of a client with an
// address. It returns false unless a node has made the id, which lives and is another one.
//
// RoundTrip fails with ErrTooMany if too many requests are under way, of the client or in all, and with
// ErrAway while the broker is away. Each answer's body must be closed. That of an answer 101 is an io.ReadWriteCloser.
func (e *Endpoint) Owner(session, client string) (http.RoundTripper, bool) {
	tag, ok := e.forwarder.ids.tagOf(e.forwarder.keys.Load(), session, e.name)
	if !ok {
		return nil, false
	}
	node, ok := e.forwarder.tagged(tag)
	return owner{e, node, client}, ok
}

// An owner is the node that owns a session.
type owner struct {
	endpoint *Endpoint
	node     string
	client   string
}

// RoundTrip implements http.RoundTripper.
func (o owner) RoundTrip(r *http.Request) (*http.Response, error) {
	f := o.endpoint.forwarder
	if f.away() {
		return nil, ErrAway
	}
	release, ok := f.limits.acquire(o.client)
	if !ok {
		return nil, ErrTooMany
	}
	conn, err := f.streams.Dial(o.node)
	if err != nil {
		release()
		return nil, err
	}
	end := sync.OnceFunc(func() {
		_ = conn.Close() // that of a stream returns none
		release()
	})
	stop := context.AfterFunc(r.Context(), end)
	input := bufio.NewReader(conn)
	answer, err := o.exchange(conn, input, r)
	if err != nil {
		stop()
		end()
		if r.Context().Err() != nil {
			err = context.Cause(r.Context())
		}
		return nil, fmt.Errorf("asking the owner of the session: %w", err)
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		stop() // the connection outlives the request
		answer.Body = upgradedBody{input, conn, end}
		return answer, nil
	}
	answer.Body = body{answer.Body, func() {
		stop()
		end()
	}}
	return answer, nil
}

// exchange sends a request and reads the head of the answer.
func (o owner) exchange(conn net.Conn, input *bufio.Reader, r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Header.Set(endpointHeader, o.endpoint.name)
	out.Header.Set(clientHeader, o.client)
	out.Close = r.Header.Get("Upgrade") == ""
	w := bufio.NewWriterSize(conn, writeSize)
	if err := out.Write(w); err != nil {
		return nil, err
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	return http.ReadResponse(input, out)
}

// writeSize is how many bytes of a request leave in one message if it has no more.
const writeSize = 16 << 10

// A body is that of an answer. Its end is that of the connection.
type body struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (b body) Close() error {
	b.end() // first, so that nothing waits for the rest of the answer
	return b.ReadCloser.Close()
}

// An upgradedBody is the connection of an answer 101.
type upgradedBody struct {
	input *bufio.Reader
	conn  net.Conn
	end   func()
}

// Read implements io.ReadWriteCloser.
func (b upgradedBody) Read(p []byte) (int, error) { return b.input.Read(p) }

// WriteTo implements io.WriterTo. It needs no buffer while it waits.
func (b upgradedBody) WriteTo(w io.Writer) (int64, error) { return b.input.WriteTo(w) }

// Write implements io.ReadWriteCloser, as does Close.
func (b upgradedBody) Write(p []byte) (int, error) { return b.conn.Write(p) }

// Close ends the connection.
func (b upgradedBody) Close() error {
	b.end()
	return nil
}
