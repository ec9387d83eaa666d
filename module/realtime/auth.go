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

// A Handshake is what is known of a client that asks to be let into a namespace.
type Handshake struct {
	Endpoint  *Endpoint
	Session   string // the connection, which several sockets may share
	SocketID  string // that the socket will have; "" until Authenticate gives it one that nobody can guess
	Protocol  string // "socket.io" or "websocket"
	Transport string // "polling" or "websocket"
	Time      time.Time
	ClientIP  string
	Origin    string // "" for a native client
	Host      string // as the client named the server, with the port if it did
	Secure    bool
	Path      string
	Query     url.Values
	Header    http.Header     // those that the endpoint keeps
	Values    Values          // what else of the request the endpoint keeps
	Identity  Identity        // what the authenticators before have said
	Auth      json.RawMessage // what the client sent to authenticate itself: an object, or nil
}

// Values are what guests wanted to be kept of a handshake's request, by the
// names that they gave it.
type Values map[string]string

// An Identity is who a socket belongs to, as far as the application says.
type Identity struct {
	// User is the user's id. "" where there is none.
	User string
	// Data is the socket's data: what the application wants to know with each
	// event, such as organizationId or role.
	Data map[string]json.RawMessage
	// Rooms are joined before the socket gets its first event.
	Rooms []string
	// ExpiresAt is when the identity ends. The client's connection is closed
	// then, so that it comes back and authenticates itself anew. The earliest of
	// several counts. Default: never.
	ExpiresAt time.Time
	// OnConnect, if not nil, is called when the socket has connected, before
	// the handlers learn of it. It is not called if the client is not let in.
	OnConnect func(ctx context.Context, s *Socket)
	// OnDiscard, if not nil, is called instead if the client is not let in after
	// all: it has gone meanwhile, or another authenticator refuses it.
	OnDiscard func()

	authentication string // that of the policy that it is by
}

// errExpired is the answer to an identity that has ended before it began.
var errExpired = &ConnectError{Message: "identity has expired", Data: json.RawMessage(`{"code":"expired"}`), Status: http.StatusUnauthorized}

// add adds what a later authenticator says. The socket will change its data;
// authenticators may give theirs to others.
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

// Discard says that the client is not let in after all. Protocols call it where
// they do not call Namespace.Accept after Namespace.Authenticate.
func (i *Identity) Discard() {
	if i.OnDiscard != nil {
		i.OnDiscard()
	}
}

// An Authenticator decides whether a client may connect, and says who it is.
type Authenticator interface {
	// Authenticate returns a *ConnectError to refuse the client; any other
	// error refuses it too, and is the server's fault.
	Authenticate(ctx context.Context, namespace string, h *Handshake) (Identity, error)
}

// authenticate asks every authenticator of a policy.
func (p *Policy) authenticate(ctx context.Context, namespace string, h *Handshake) (Identity, error) {
	var identity Identity
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
