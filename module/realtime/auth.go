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
	SocketID  string // that the socket has to have; "" for one that nobody can guess
	Protocol  string // "socket.io" or "websocket"
	Transport string // "polling" or "websocket"
	Time      time.Time
	ClientIP  string
	Origin    string // "" for a native client
	Secure    bool
	Path      string
	Query     url.Values
	Header    http.Header     // those that the endpoint keeps
	Auth      json.RawMessage // what the client sent to authenticate itself: an object, or nil
}

// An Identity is who a socket belongs to, as far as the application says.
type Identity struct {
	// User is the user's id. "" where there is none.
	User string
	// Data is the socket's data: what the application wants to know with each
	// event, such as organizationId or role.
	Data map[string]json.RawMessage
	// Rooms are joined before the socket gets its first event.
	Rooms []string
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
		added, err := p.callAuthenticate(ctx, authenticator, namespace, h)
		if err != nil {
			return Identity{}, fmt.Errorf("authenticating: %w", err)
		}
		if added.User != "" {
			identity.User = added.User
		}
		if identity.Data == nil && len(added.Data) > 0 {
			// The socket will change it; the authenticator may give it to others.
			identity.Data = make(map[string]json.RawMessage, len(added.Data))
		}
		maps.Copy(identity.Data, added.Data)
		identity.Rooms = append(identity.Rooms, added.Rooms...)
	}
	return identity, nil
}
