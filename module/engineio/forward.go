package engineio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
	"github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"
)

// A forwarded request is one about a session that another node owns. This node checks what it can
// before: the origin, the method, the body's size. What the request means is the owner's to know.

// tellTimeout is how long this node tries to tell an owner something.
const tellTimeout = 5 * time.Second

// forward has a request answered by the node that owns its session.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, p parameters, owner http.RoundTripper, release <-chan struct{}) {
	f := &forwarding{s, w, r, p, owner}
	wantsWebSocket := wsconn.Requested(r)
	switch {
	case p.codec == nil, wantsWebSocket != (p.transport == webSocketName):
		s.refuse(w, r, refusal.BadRequest)
	case wantsWebSocket:
		f.upgrade()
	case r.Method == http.MethodGet:
		f.poll(release)
	case r.Method == http.MethodPost:
		f.post()
	default:
		s.refuse(w, r, refusal.BadRequest)
	}
}

// A forwarding is one request that is forwarded.
type forwarding struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	p      parameters
	owner  http.RoundTripper
}

// request returns a request to the owner about the session. It has those of the client's headers that
// are named.
func (f *forwarding) request(ctx context.Context, method string, body []byte, headers ...string) *http.Request {
	query := url.Values{"EIO": {strconv.Itoa(f.p.codec.revision)}, "transport": {f.p.transport}, "sid": {f.p.sid}}
	if f.p.base64 {
		query.Set("b64", "1")
	}
	out := (&http.Request{
		Method:        method,
		URL:           &url.URL{Scheme: "http", Host: "owner", Path: "/", RawQuery: query.Encode()},
		Header:        make(http.Header),
		ContentLength: int64(len(body)),
	}).WithContext(ctx)
	if len(body) > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	for _, name := range headers {
		if values := f.r.Header[name]; len(values) > 0 {
			out.Header[name] = values
		}
	}
	return out
}

// poll has a GET answered.
func (f *forwarding) poll(release <-chan struct{}) {
	answered := make(chan struct{})
	released := make(chan bool, 1)
	go func() {
		select {
		case <-release:
			f.tell(methodRelease)
			released <- true
		case <-answered:
			released <- false
		}
	}()
	answer, err := f.ask(f.r.Context(), http.MethodGet, nil, "Accept-Encoding")
	close(answered)
	if <-released {
		f.w.Header().Set("Connection", "close") // as in servePoll
	}
	gone := f.r.Context().Err() != nil
	switch {
	case err == nil && gone:
		_ = answer.Body.Close()
	case err == nil:
		err = f.copy(answer)
	case !gone:
		f.fail(err)
	}
	if err != nil || gone {
		f.tell(methodAbandon) // the owner may have given away what the client will never get
	}
}

// ask sends a request and waits for the head of the answer. A GET is answered by the next ping, and a
// client waits no longer for that.
func (f *forwarding) ask(ctx context.Context, method string, body []byte, headers ...string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(f.patience(), func() { cancel(errNoAnswer) })
	defer timer.Stop()
	answer, err := f.owner.RoundTrip(f.request(ctx, method, body, headers...))
	if err != nil {
		cancel(nil)
	}
	return answer, err
}

// patience is somewhat longer than a client is silent at most, while its session lives.
func (f *forwarding) patience() time.Duration {
	o := f.server.options()
	return o.PingInterval + o.PingTimeout + tellTimeout
}

var errNoAnswer = errors.New("it has not answered in time")

// post has a POST answered, once all of it has come.
func (f *forwarding) post() {
	data, err := readBody(f.w, f.r, f.server.options().MaxPayload)
	if err != nil {
		switch {
		case errors.Is(err, errBigBody):
			f.server.logRefused(f.r, "Payload too large", zap.String("session", f.p.sid))
			f.w.WriteHeader(http.StatusRequestEntityTooLarge)
		case errors.Is(err, errSlowBody):
			f.w.WriteHeader(http.StatusRequestTimeout)
		}
		f.tell(methodAbandon)
		return
	}
	// It counts as sent, whether its client waits for the answer or not.
	answer, err := f.ask(context.WithoutCancel(f.r.Context()), http.MethodPost, data, "Content-Type")
	if err == nil {
		err = f.copy(answer)
	} else {
		f.fail(err)
	}
	if err != nil {
		f.tell(methodAbandon) // the client cannot know whether the packets have arrived
	}
}

// upgrade has the owner read and write the frames of a WebSocket, whose client stays connected to this
// node.
func (f *forwarding) upgrade() {
	if status, err := wsconn.Check(f.r); err != nil {
		f.server.logRefused(f.r, err.Error(), zap.String("session", f.p.sid))
		http.Error(f.w, err.Error(), status)
		return
	}
	out := f.request(f.r.Context(), http.MethodGet, nil, "Sec-Websocket-Extensions", "Sec-Websocket-Protocol")
	for name, value := range relayHeaders {
		out.Header.Set(name, value)
	}
	answer, err := f.owner.RoundTrip(out)
	if err != nil {
		f.fail(err)
		return
	}
	remote, ok := answer.Body.(io.ReadWriteCloser)
	if answer.StatusCode != http.StatusSwitchingProtocols || !ok {
		_ = f.copy(answer)
		return
	}
	relay, err := wsconn.NewRelay(f.w, f.r, answer.Header, remote, f.patience())
	if err != nil {
		f.server.logRefused(f.r, err.Error(), zap.String("session", f.p.sid))
		return
	}
	if !f.server.relays.Add(relay) { // the server is about to close
		relay.Close()
		return
	}
	relay.Run(func() {
		f.server.relays.Remove(relay)
		f.server.relays.Done()
	})
}

// relayHeaders ask the owner for a WebSocket. The client's own key is answered by this node.
var relayHeaders = map[string]string{
	"Connection":            "Upgrade",
	"Upgrade":               "websocket",
	"Sec-Websocket-Version": "13",
	"Sec-Websocket-Key":     "AAAAAAAAAAAAAAAAAAAAAA==",
}

// copiedHeaders are the headers of an owner's answer that the client gets.
var copiedHeaders = []string{"Content-Type", "Content-Encoding", "Content-Length", "Cache-Control", "Vary"}

// copy gives the client the owner's answer. An error says that it has not got all of it.
func (f *forwarding) copy(answer *http.Response) error {
	defer answer.Body.Close() //nolint:errcheck // nothing is left to be read
	h := f.w.Header()
	for _, name := range copiedHeaders {
		h[name] = append(h[name], answer.Header[name]...)
		if len(h[name]) == 0 {
			delete(h, name)
		}
	}
	f.w.WriteHeader(answer.StatusCode)
	client := http.NewResponseController(f.w)
	defer client.SetWriteDeadline(time.Time{}) //nolint:errcheck // as below
	piece := make([]byte, min(answerPiece, max(answer.ContentLength, 512)))
	for {
		n, err := answer.Body.Read(piece)
		// By then the owner has given up a client that takes nothing. Some writers have no deadlines.
		_ = client.SetWriteDeadline(time.Now().Add(f.patience()))
		if _, failed := f.w.Write(piece[:n]); failed != nil {
			return failed
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// fail answers a request that the owner has not answered. If the owner is lost, the session is unknown.
func (f *forwarding) fail(err error) {
	if f.isLost() {
		f.server.refuse(f.w, f.r, refusal.UnknownSession)
		return
	}
	f.server.logRefused(f.r, "another node does not answer", zap.Error(err), zap.String("session", f.p.sid))
	refusal.Unreachable(f.w)
	_ = http.NewResponseController(f.w).Flush() // what follows may take long
}

// isLost reports whether the owner does not live any more.
func (f *forwarding) isLost() bool {
	return f.server.ownerOf(f.p.sid, f.r, f.server.options()) == nil
}

// tell tells the owner something, whether the client waits or not. If that fails, the session ends when
// its client does not answer a ping.
func (f *forwarding) tell(method string) {
	if f.isLost() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.r.Context()), tellTimeout)
	defer cancel()
	if answer, err := f.owner.RoundTrip(f.request(ctx, method, nil)); err == nil {
		_ = answer.Body.Close()
	}
}
