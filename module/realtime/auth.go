package realtime

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// A Handshake is what is known about a client that asks to connect to a namespace.
type Handshake struct {
	Endpoint  *Endpoint
	Session   string // the id of the connection, which several sockets may share
	SocketID  string // the id that the socket will have; Authenticate fills in a random one
	Protocol  string // "socket.io" or "websocket"
	Transport string // "polling" or "websocket"
	Time      time.Time
	ClientIP  string
	Origin    string // "" for a native client
	Host      string // as the client named the server, with the port if it did
	Secure    bool
	Path      string
	Query     url.Values
	Header    http.Header     // the headers that the endpoint keeps
	Values    Values          // the other values of the request that the endpoint keeps
	Identity  Identity        // what earlier authenticators have returned
	Auth      json.RawMessage // the auth object that the client sent, or nil

	// Complete, if not nil, is for the protocol: it sets Query, Header and Values. It is called once,
	// before the first authenticator is asked. Without any, nobody needs them, and they take time
	// and memory to make.
	Complete func(*Handshake)
}

// Values are parts of a handshake's request that guests asked to keep, by the names they chose.
type Values map[string]string

// An Identity is what the application says about a socket's owner.
type Identity struct {
	// User is the user's id, or "" if there is none.
	User string
	// Data is the socket's data: what the application wants to know with each event, such as an
	// organization or a role.
	Data map[string]json.RawMessage
	// The socket joins Rooms before it gets its first event.
	Rooms []string
	// ExpiresAt is when the identity expires. The client's connection is then closed in a way that
	// makes the client reconnect and authenticate again. The earliest of several times counts. Zero
	// means never.
	ExpiresAt time.Time
	// OnConnect, if not nil, is called when the socket has connected, before the handlers are. It
	// is not called if the client is refused after all.
	OnConnect func(ctx context.Context, s *Socket)
	// OnDiscard, if not nil, is called instead of OnConnect if the client is refused after all: it
	// has disconnected meanwhile, or another authenticator refuses it.
	OnDiscard func()

	authentication string // Authentication of the policy that accepted it
}

// errExpired refuses a client whose identity has expired already.
var errExpired = &ConnectError{Message: "identity has expired", Data: json.RawMessage(`{"code":"expired"}`), Status: http.StatusUnauthorized}

// add merges what a later authenticator returns. It copies Data, since the socket changes its own
// and authenticators may share theirs.
func (i *Identity) add(more Identity) {
	if more.User != "" {
		i.User = more.User
	}
	if i.Data == nil && len(more.Data) > 0 {
		i.Data = make(map[string]json.RawMessage, len(more.Data))
	}
	maps.Copy(i.Data, more.Data)
	i.Rooms = append(i.Rooms, more.Rooms...)
	if i.ExpiresAt.IsZero() || !more.ExpiresAt.IsZero() && more.ExpiresAt.Before(i.ExpiresAt) {
		i.ExpiresAt = more.ExpiresAt
	}
	if first, second := i.OnConnect, more.OnConnect; first != nil && second != nil {
		i.OnConnect = func(ctx context.Context, s *Socket) {
			first(ctx, s)
			second(ctx, s)
		}
	} else if second != nil {
		i.OnConnect = second
	}
	if first, second := i.OnDiscard, more.OnDiscard; first != nil && second != nil {
		i.OnDiscard = func() {
			first()
			second()
		}
	} else if second != nil {
		i.OnDiscard = second
	}
}

// Discard calls OnDiscard. A protocol that does not call Namespace.Accept after
// Namespace.Authenticate must call Discard instead.
func (i *Identity) Discard() {
	if i.OnDiscard != nil {
		i.OnDiscard()
	}
}

// An Authenticator decides whether a client may connect, and says who it is. Its methods are called
// concurrently.
type Authenticator interface {
	// Authenticate returns a *ConnectError to refuse the client. Any other error refuses it too,
	// and is reported as the server's fault. It may block until ctx ends.
	Authenticate(ctx context.Context, namespace string, h *Handshake) (Identity, error)
}

// authenticate asks every authenticator of the policy, in order.
func (p *Policy) authenticate(ctx context.Context, namespace string, h *Handshake) (Identity, error) {
	var identity Identity
	if len(p.Authenticators) > 0 && h.Complete != nil {
		h.Complete(h)
		h.Complete = nil
	}
	for _, authenticator := range p.Authenticators {
		h.Identity = identity
		added, err := p.callAuthenticate(ctx, authenticator, namespace, h)
		if err != nil {
			identity.Discard()
			return Identity{}, fmt.Errorf("authenticating: %w", err)
		}
		identity.add(added)
	}
	if !identity.ExpiresAt.IsZero() && !identity.ExpiresAt.After(time.Now()) {
		identity.Discard()
		return Identity{}, errExpired
	}
	return identity, nil
}
