// Package forward has HTTP requests about a session answered by the node that owns it, whichever node
// of the hub they have reached. So no load balancer has to send the requests of a client to one node.
//
// The id of a session names its owner, and has a code by which every node knows an id that a node of
// its cluster has made: see sessionid.go. A request for any other id reaches no other node.
//
// Each request has a connection of its own to the owner, which the bus carries: see package stream.
// If the client does not wait for the answer any more, the connection ends, and so does the request's
// context at the owner. If the owner is lost, the connections with it end at once.
//
// Whoever can write to the broker can send requests in the name of any client.
package forward

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/stream"
	"github.com/caddy-realtime/caddy-realtime/module/internal/refusal"
)

// The headers that a forwarded request has in addition to the client's.
const (
	endpointHeader = "Realtime-Endpoint" // the name of the endpoint that the request has reached
	clientHeader   = "Realtime-Client"   // the address of the client
)

// headerTimeout is how long the head of a request may take from the first byte on. It arrives in one
// piece.
const headerTimeout = 10 * time.Second

// Options are the settings of a Forwarder.
type Options struct {
	// Hub is the name of the hub, and Tag that by which other nodes find this one.
	Hub, Tag string
	// Tagged returns the name of the other node that lives and has a tag.
	Tagged func(tag string) (node string, ok bool)
	// Away reports whether the broker is known to be away.
	Away func() bool
	// Streams are the connections with other nodes. The forwarder closes them.
	Streams *stream.Streams
	// Logger gets what goes wrong. Default: none.
	Logger *zap.Logger
}

// A Forwarder passes requests on to other nodes and has those of other nodes answered. All methods
// may be called concurrently.
type Forwarder struct {
	ids     sessionIDs
	keys    atomic.Pointer[keys]
	tagged  func(tag string) (node string, ok bool)
	away    func() bool
	streams *stream.Streams
	limits  limits
	server  http.Server
	serving sync.WaitGroup

	mu       sync.RWMutex
	handlers map[string]http.Handler // by the names of endpoints
}

// New returns a forwarder. The caller must call Close.
func New(o Options) *Forwarder {
	logger := o.Logger
	if logger == nil {
		logger = zap.NewNop()
	}
	f := &Forwarder{
		ids:      sessionIDs{o.Hub, o.Tag},
		tagged:   o.Tagged,
		away:     o.Away,
		streams:  o.Streams,
		limits:   limits{byAddress: make(map[string]int)},
		handlers: make(map[string]http.Handler),
	}
	f.keys.Store(new(keys))
	failures, _ := zap.NewStdLogAt(logger, zap.ErrorLevel) // fails for unknown levels only
	f.server = http.Server{
		Handler:           http.HandlerFunc(f.serve),
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          failures, // a handler has panicked
	}
	f.serving.Go(func() {
		if err := f.server.Serve(f.streams); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("requests of other nodes are not answered any more", zap.Error(err))
		}
	})
	return f
}

// SetKey sets the secret that all nodes of the cluster have, and nobody else. Nil means that there is
// none, as at the beginning: then no request is forwarded. Ids that were made with the former key are
// still known.
func (f *Forwarder) SetKey(key []byte) {
	f.keys.Store(f.keys.Load().next(key))
}

// Close ends all requests. It returns when no other node's request is accepted any more.
func (f *Forwarder) Close() {
	_ = f.server.Close() // that of the streams, which returns none
	f.serving.Wait()
	_ = f.streams.Close()
}

// serve answers a request of another node.
func (f *Forwarder) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.RLock()
	handler := f.handlers[r.Header.Get(endpointHeader)]
	f.mu.RUnlock()
	if handler == nil { // the configurations differ
		refusal.UnknownSession.Write(w)
		return
	}
	r.RemoteAddr = r.Header.Get(clientHeader)
	handler.ServeHTTP(w, r)
}
