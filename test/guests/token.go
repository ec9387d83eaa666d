// Package guests has the application that end-to-end tests run inside Caddy: authenticators and
// handlers, as third parties would write them.
package guests

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(Token)) }

// Token decides by a token: the member "token" of the client's auth, or else the bearer token of its
// handshake.
//
//	no token        accepted, without a user
//	user:<name>     accepted as that user, in the rooms org:<name> and staff
//	forbidden       refused with status 403 and data
//	expired         refused with status 401
//	broken          the authenticator itself fails
//	anything else   refused, unless the authenticator is lenient
//
// The socket's data has the client's auth as "auth".
type Token struct {
	// Lenient accepts clients with an unknown token, without a user.
	Lenient bool `json:"lenient,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Token) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.authenticators.token", New: func() caddy.Module { return new(Token) }}
}

// Authenticate implements realtime.Authenticator.
func (t *Token) Authenticate(_ context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	var auth struct {
		Token string `json:"token"`
	}
	sent := h.Auth
	if sent == nil {
		sent = json.RawMessage("{}")
	}
	if err := json.Unmarshal(sent, &auth); err != nil {
		return realtime.Identity{}, &realtime.ConnectError{Message: "the token is no string"}
	}
	token := auth.Token
	if token == "" {
		token, _ = strings.CutPrefix(h.Header.Get("Authorization"), "Bearer ")
	}

	identity := realtime.Identity{Data: map[string]json.RawMessage{"auth": sent}}
	switch name, isUser := strings.CutPrefix(token, "user:"); {
	case token == "":
	case isUser:
		identity.User = name
		identity.Data["namespace"] = realtime.String(namespace).JSON
		identity.Data["transport"] = realtime.String(h.Transport).JSON
		identity.Rooms = []string{"org:" + name, "staff"}
	case token == "expired":
		return realtime.Identity{}, &realtime.ConnectError{Message: "token has expired", Status: http.StatusUnauthorized}
	case token == "broken":
		return realtime.Identity{}, errors.New("the user database is down")
	case t.Lenient:
	default:
		return realtime.Identity{}, &realtime.ConnectError{
			Message: "not authorized",
			Data:    json.RawMessage(`{"code":"E_FORBIDDEN","hints":["<ask>",{"an":"admin"}]}`),
			Status:  http.StatusForbidden,
		}
	}
	return identity, nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	authenticator token [lenient]
func (t *Token) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the guest's name
	if d.NextArg() {
		t.Lenient = d.Val() == "lenient"
		if !t.Lenient || d.NextArg() {
			return d.ArgErr()
		}
	}
	return nil
}

// Interface guards
var (
	_ realtime.Authenticator = (*Token)(nil)
	_ caddyfile.Unmarshaler  = (*Token)(nil)
)
