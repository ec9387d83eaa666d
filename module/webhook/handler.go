package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/internal/defaults"
	"github.com/caddy-realtime/caddy-realtime/module/internal/ratelog"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Options are the settings of a Handler.
type Options struct {
	// URL is where requests are posted to. Required.
	URL string
	// Transport sends requests. Its error wraps ErrNotSent or a dial's *net.OpError if
	// nothing of a request has reached the backend. Redirects are not followed.
	// Default: http.DefaultTransport.
	Transport http.RoundTripper
	// Secrets sign the requests. A request has one signature for each secret.
	// Default: no signature.
	Secrets []Secret
	// Events are the names of the events that the backend handles. Default: all.
	Events realtime.Globs
	// Forward are the names of the handshake's headers that requests about connects
	// have, too. Default: DefaultForward.
	Forward []string
	// ConnectTimeout and EventTimeout are how long the backend may take to answer. They
	// include the wait for a slot, and further attempts. Defaults: 3s and 5s.
	ConnectTimeout, EventTimeout time.Duration
	// Concurrency is how many messages may be in flight. From four on, a quarter is
	// reserved for connects and a quarter for events. Disconnects get an eighth at
	// most, and events of one name three times as many as they leave to others.
	// Default: 256.
	Concurrency int
	// RetryUnknown has connects and events sent again, with the same webhook-id, even if
	// the backend may have received them. Default: only if it cannot have.
	RetryUnknown bool
	// Batch is how many messages about events and disconnects may go in one request. Those
	// that come while a request is on its way gather, and go in the next one. The backend
	// must know batches. Default: each message has a request of its own.
	Batch int
	// NoConnects lets clients in without asking the backend, and without an identity.
	// NoDisconnects tells the backend of no disconnect.
	NoConnects, NoDisconnects bool
	// AcceptOnError lets a client in without an identity if the backend is unavailable.
	// Default: the client's connection is closed, and the client comes back by itself.
	AcceptOnError bool
	// Storage keeps the messages about disconnects that the backend has not taken, and
	// what it needs to tell of all sockets should the process be killed. Default: none,
	// and they do not outlive the process.
	Storage Storage
	// Hub is where the sockets are. Required with Storage and with Name.
	Hub *realtime.Hub
	// Name tells the backend from others of the hub, the same on all nodes. With it, other nodes
	// know what the backend needs to be told should this node be lost, and tell it then. Default:
	// none, and they do not.
	Name string
	// Meter counts requests. Default: one that nobody reads.
	Meter *Meter
	// Logger gets a line about what goes wrong: of each kind one in a second at most,
	// with how often it did. Default: none.
	Logger *zap.Logger
}

// The defaults of Options.
const (
	DefaultConnectTimeout = 3 * time.Second
	DefaultEventTimeout   = 5 * time.Second
	DefaultConcurrency    = 256
)

// DefaultForward are the headers that requests about connects have by default.
var DefaultForward = []string{"Cookie", "Authorization"}

// A Handler asks a backend, an application behind HTTP, who clients are and what follows
// from their events. The messages that sockets are gone wait in a Queue. All methods may
// be called concurrently.
type Handler struct {
	options Options
	queue   *Queue
	notices *notices
	slots   *slots // as many as requests may be in flight
	pause   *pause
	events  deadlines
	batches *batches // nil: there are none

	blank  *http.Request // a request without what each has of its own
	badURL error         // why there is no blank; nil: there is

	deliveries *deliveries // of the queue
}

// New returns a handler that leaves its messages about disconnects in queue. The queue
// must use it before a client connects, or has used it.
func New(o Options, queue *Queue) *Handler {
	defaults.Set(&o.ConnectTimeout, DefaultConnectTimeout)
	defaults.Set(&o.EventTimeout, DefaultEventTimeout)
	defaults.Set(&o.Concurrency, DefaultConcurrency)
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Forward == nil {
		o.Forward = DefaultForward
	}
	if o.Meter == nil {
		o.Meter = new(Meter)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	all := o.Logger
	o.Logger = o.Logger.WithOptions(zap.WrapCore(ratelog.New))
	b := &Handler{
		options: o,
		notices: newNotices(all),
		queue:   queue,
		slots:   newSlots(o.Concurrency),
		pause:   newPause(o.Transport),
		events:  deadlines{after: o.EventTimeout, cause: errTimeout},

		deliveries: newDeliveries(),
	}
	b.blank, b.badURL = http.NewRequest(http.MethodPost, o.URL, http.NoBody)
	if o.Batch > 1 {
		b.batches = newBatches(b, o.Batch)
	}
	return b
}

var errTimeout = errors.New("backend took too long")

// Authenticate implements realtime.Authenticator.
func (b *Handler) Authenticate(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	if b.options.NoConnects {
		return realtime.Identity{}, nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, b.options.ConnectTimeout, errTimeout)
	defer cancel()
	reply, err := b.ask(limited, newConnect(namespace, h, b.options.Forward))
	if err == nil {
		b.logCause(reply, typeConnect, namespace, "")
		if refusal := reply.connectError(); refusal != nil {
			return realtime.Identity{}, refusal
		}
		var a *answer
		if a, err = b.read(typeConnect, reply, h.Endpoint); err == nil {
			if a.Refusal != nil {
				return realtime.Identity{}, a.Refusal.connectError(http.StatusForbidden)
			}
			if !b.options.NoDisconnects {
				b.queue.records.accepted(namespace, h, a)
			}
			return b.identity(namespace, h, a), nil
		}
	}
	if bad, ok := errors.AsType[*wrongAnswer](err); ok {
		b.options.Logger.Error("answer of the backend is wrong",
			zap.String("type", typeConnect), zap.String("socket", h.SocketID),
			zap.String("namespace", namespace), zap.Error(bad))
		return realtime.Identity{}, bad.connectError()
	}
	if ctx.Err() != nil { // the client has gone, or the hub closes: not the backend's fault
		return realtime.Identity{}, fmt.Errorf("asking the backend was given up: %w", context.Cause(ctx))
	}
	b.options.Logger.Error("backend is unavailable",
		zap.String("type", typeConnect), zap.String("socket", h.SocketID),
		zap.String("namespace", namespace), zap.String("sent", sentOf(err)), zap.Error(err))
	err = fmt.Errorf("backend is unavailable: %w", err)
	if !b.options.AcceptOnError {
		return realtime.Identity{}, err
	}
	b.options.Logger.Error("client is let in without an identity",
		zap.String("socket", h.SocketID), zap.String("namespace", namespace), zap.Error(err))
	return realtime.Identity{}, nil
}

// identity returns the identity that an answer gives a client.
func (b *Handler) identity(namespace string, h *realtime.Handshake, a *answer) realtime.Identity {
	identity := realtime.Identity{
		User:  a.User,
		Data:  a.Data,
		Rooms: b.joinable(h.Endpoint.Hub().Lookup(namespace), h.SocketID, a.Join),
		OnConnect: func(ctx context.Context, s *realtime.Socket) {
			if err := a.emit(ctx, s); err != nil {
				b.options.Logger.Error("answer to socket.connect cannot be done",
					zap.String("socket", s.ID()), zap.Error(err))
			}
			b.sendAway(s, a)
		},
		OnDiscard: func() { b.abandoned(disconnectOfClient(namespace, h, a)) },
		ExpiresAt: a.ExpiresAt,
	}
	return identity
}

// HandleConnect implements realtime.Handler. The backend does not learn that a client was
// away and came back.
func (b *Handler) HandleConnect(_ context.Context, s *realtime.Socket) {
	if s.Recovered() {
		b.queue.cancel(s.ID())
	}
	if !b.options.NoDisconnects {
		b.queue.records.connected(s)
	}
}

// HandleEvent implements realtime.Handler.
func (b *Handler) HandleEvent(_ context.Context, e *realtime.Event) (handled bool, err error) {
	if len(b.options.Events) > 0 && !b.options.Events.Match(e.Name) {
		return false, nil
	}
	if b.batches == nil || !b.batches.handle(e) {
		e.Later(func(ctx context.Context) error { return b.handle(ctx, e) })
	}
	return true, nil
}

// errUnavailable is what clients get if the backend did not answer.
var errUnavailable = &realtime.Error{Code: "backend_unavailable", Message: "the backend did not answer the event"}

func (b *Handler) handle(ctx context.Context, e *realtime.Event) error {
	limited := b.events.begin(ctx)
	defer b.events.end(limited)
	r := newEvent(e)
	reply, err := b.ask(limited, &r)
	defer reply.release()
	return b.conclude(ctx, e, reply, err)
}

// conclude does what follows from the reply to an event, or from the error that came instead. It
// waits for nothing.
func (b *Handler) conclude(ctx context.Context, e *realtime.Event, reply *reply, err error) error {
	if err == nil {
		b.logCause(reply, typeEvent, e.Socket.Namespace().Name(), e.Name)
		if refusal := reply.eventError(); refusal != nil {
			return refusal
		}
		var a *answer
		if a, err = b.read(typeEvent, reply, e.Socket.Endpoint()); err == nil {
			if a.Refusal != nil {
				return a.Refusal.eventError("bad_request")
			}
			b.do(ctx, e, a, reply.held)
			return nil
		}
	}
	if bad, ok := errors.AsType[*wrongAnswer](err); ok {
		b.options.Logger.Error("answer of the backend is wrong",
			zap.String("type", typeEvent), zap.String("socket", e.Socket.ID()),
			zap.String("namespace", e.Socket.Namespace().Name()), zap.String("event", e.Name),
			zap.Error(bad))
		return bad.eventError()
	}
	b.options.Logger.Error("backend is unavailable", zap.String("type", typeEvent), zap.String("socket", e.Socket.ID()), zap.String("namespace", e.Socket.Namespace().Name()), zap.String("event", e.Name),
		zap.String("sent", sentOf(err)), zap.Error(err))
	return errUnavailable
}

// do does what an answer to an event says. Events are emitted after the socket has left
// and joined rooms, and a client that is disconnected gets everything before that. in may be
// nil.
func (b *Handler) do(ctx context.Context, e *realtime.Event, a *answer, in *held) {
	s := e.Socket
	if in == nil && len(a.Emit) > 0 {
		in = newHeld() // what is emitted to the client leaves with its ack
		defer in.release()
	}
	if in != nil {
		e.HoldIn(&in.batch)
	}
	if len(a.Data) > 0 {
		s.SetData(a.Data)
		b.queue.records.changed(s)
	}
	s.Leave(a.Leave...)
	s.Join(b.joinable(s.Namespace(), s.ID(), a.Join)...)
	if in != nil && len(a.Emit) > 0 {
		ctx = realtime.WithBatch(ctx, &in.batch)
	}
	if err := a.emit(ctx, s); err != nil {
		b.options.Logger.Error("answer to socket.event cannot be done",
			zap.String("socket", s.ID()), zap.String("event", e.Name), zap.Error(err))
	}
	if e.Ack != nil {
		_ = e.Ack(a.Ack...) // a client that cannot get it is being disconnected
	}
	b.sendAway(s, a)
}

// sendAway disconnects the client if an answer says so.
func (b *Handler) sendAway(s *realtime.Socket, a *answer) {
	if a.Disconnect == nil {
		return
	}
	b.options.Logger.Info("backend sends client away",
		zap.String("socket", s.ID()), zap.String("why", a.Disconnect.Reason))
	_ = s.Disconnect(a.Disconnect.Close) // it may have gone meanwhile
}

// joinable returns the rooms without those that are another socket's own: whoever joined
// one would get what is meant for that socket. A client may have sent such a name.
func (b *Handler) joinable(n *realtime.Namespace, id string, rooms []string) []string {
	return slices.DeleteFunc(rooms, func(room string) bool {
		if room == id || !n.IsSocketRoom(room) {
			return false
		}
		b.options.Logger.Error("answer has a room that is another socket's own",
			zap.String("socket", id), zap.String("room", room))
		return true
	})
}

// HandleDisconnect implements realtime.Handler.
func (b *Handler) HandleDisconnect(_ context.Context, s *realtime.Socket, reason string) {
	if b.options.NoDisconnects {
		b.queue.records.forget(s.ID())
		return
	}
	b.queue.add(disconnectOf(s, reason))
}

// abandoned handles that a client was accepted by the backend and never connected.
func (b *Handler) abandoned(d *disconnect) {
	if b.options.NoDisconnects {
		b.queue.records.forget(d.socket)
		return
	}
	b.queue.add(d)
}

// HandleUnrecoverable implements realtime.UnrecoverableHandler.
func (b *Handler) HandleUnrecoverable(s *realtime.Socket) { b.queue.release(s.ID()) }

// HandleMoved implements realtime.MovedHandler. The node that has the socket tells the backend when it
// is gone.
func (b *Handler) HandleMoved(s *realtime.Socket) { b.queue.cancel(s.ID()) }

// Interface guards
var (
	_ realtime.Authenticator = (*Handler)(nil)
	_ realtime.Handler       = (*Handler)(nil)

	_ realtime.UnrecoverableHandler = (*Handler)(nil)
	_ realtime.MovedHandler         = (*Handler)(nil)
)
