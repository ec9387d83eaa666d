// Package jwt authenticates clients by a JSON Web Token (RFC 7519).
//
//   - authenticator.go: from tokens to identities
//   - source.go: where a handshake has its token
//   - keys.go, keyset.go: keys of the configuration, and of a JSON Web Key Set
//   - claims.go: claims, and rooms that are named after them
package jwt

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Options are the settings of an Authenticator.
type Options struct {
	// Keys verify the signatures. Required.
	Keys *Keys
	// Sources are where a token may be. The first one that has a token counts.
	// Default: DefaultSources.
	Sources []Source
	// A token must have one of the Issuers, and one of the Audiences. Default: any.
	Issuers, Audiences []string
	// Leeway is how far clocks may differ when exp and nbf are checked. The claim iat is
	// not checked. Default: 0.
	Leeway time.Duration
	// OptionalExpiry accepts tokens that never expire.
	OptionalExpiry bool
	// User is the claim with the user's id. Every token must have it. Default: "sub".
	User string
	// Data are the claims that become members of the socket's data, by the members'
	// names. A member is left out if the token lacks its claim.
	Data map[string]string
	// Rooms are what the socket joins. A room is left out if the token lacks its claim.
	// A claim that is an array makes a room of each of its elements.
	Rooms []Room
	// Logger gets a line when a token lacks the claim of a room: the first one of each
	// room at info, the others at debug. Default: none.
	Logger *zap.Logger
}

// maxToken is the size of the largest token, in bytes.
const maxToken = 16 << 10

// An Authenticator authenticates clients by their tokens. All methods may be called
// concurrently.
type Authenticator struct {
	options Options
	parser  *gojwt.Parser
	noted   []atomic.Bool // for each of options.Rooms: the log has a line about it
}

// New returns an authenticator.
func New(o Options) *Authenticator {
	if len(o.Sources) == 0 {
		o.Sources = DefaultSources
	}
	if o.User == "" {
		o.User = "sub"
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	options := []gojwt.ParserOption{
		gojwt.WithValidMethods(o.Keys.algorithms()),
		gojwt.WithLeeway(o.Leeway),
		gojwt.WithJSONNumber(),
	}
	if !o.OptionalExpiry {
		options = append(options, gojwt.WithExpirationRequired())
	}
	if len(o.Audiences) > 0 {
		options = append(options, gojwt.WithAudience(o.Audiences...))
	}
	return &Authenticator{o, gojwt.NewParser(options...), make([]atomic.Bool, len(o.Rooms))}
}

// refuse returns the error that a client gets. The code is for programs, in the error's
// data. A wrapping error says more to the log.
func refuse(code, message string) error {
	data, _ := json.Marshal(map[string]string{"code": code})
	return &realtime.ConnectError{Message: message, Data: data, Status: http.StatusUnauthorized}
}

// Authenticate implements realtime.Authenticator.
func (a *Authenticator) Authenticate(ctx context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	text := a.find(h)
	switch {
	case text == "":
		return realtime.Identity{}, refuse("token_missing", "token is missing")
	case len(text) > maxToken:
		return realtime.Identity{}, fmt.Errorf("%w: it has %d bytes, and at most %d are looked at",
			refuse("token_invalid", "token is invalid"), len(text), maxToken)
	}
	find := func(t *gojwt.Token) (any, error) { return a.options.Keys.find(ctx, t) }
	token, err := a.parser.Parse(text, find)
	if errors.Is(err, gojwt.ErrTokenSignatureInvalid) && a.options.Keys.renew(ctx, token) {
		token, err = a.parser.Parse(text, find)
	}
	if errors.Is(err, gojwt.ErrTokenInvalidAudience) {
		audience, _ := token.Claims.GetAudience()
		err = fmt.Errorf("%w: its aud is %q, and not one of %q", err, audience, a.options.Audiences)
	}
	if err != nil {
		return realtime.Identity{}, explain(err)
	}
	return a.identity(h.SocketID, text, token)
}

func (a *Authenticator) find(h *realtime.Handshake) string {
	for _, source := range a.options.Sources {
		if text := source.read(h); text != "" {
			return text
		}
	}
	return ""
}

// explain returns the error for a token that is wrong. The log gets all of it, and the
// client only as much as told says.
func explain(err error) error {
	if errors.Is(err, errKeysUnavailable) {
		return err // The client is not to blame, and shall come back.
	}
	return fmt.Errorf("%w: %w", told(err), err)
}

// told returns the error that the client gets: no details unless the signature is right.
func told(err error) error {
	switch {
	case errors.Is(err, gojwt.ErrTokenUnverifiable), errors.Is(err, gojwt.ErrTokenSignatureInvalid), errors.Is(err, gojwt.ErrTokenMalformed):
	case errors.Is(err, gojwt.ErrTokenExpired):
		return refuse("token_expired", "token has expired")
	case errors.Is(err, gojwt.ErrTokenNotValidYet):
		return refuse("token_not_yet_valid", "token is not valid yet")
	case errors.Is(err, gojwt.ErrTokenInvalidAudience):
		return refuse("token_audience", "token is for another audience")
	}
	return refuse("token_invalid", "token is invalid")
}

// identity returns the identity that the claims of a verified token describe.
func (a *Authenticator) identity(socket, text string, token *gojwt.Token) (realtime.Identity, error) {
	c, err := readClaims(text)
	if err != nil {
		return realtime.Identity{}, refuse("token_invalid", "token is invalid")
	}
	if issuer, err := token.Claims.GetIssuer(); len(a.options.Issuers) > 0 && (err != nil || !slices.Contains(a.options.Issuers, issuer)) {
		return realtime.Identity{}, fmt.Errorf("%w: its iss is %q, and not one of %q",
			refuse("token_issuer", "token is of another issuer"), issuer, a.options.Issuers)
	}
	users := c.texts(a.options.User)
	if len(users) != 1 || users[0] == "" {
		return realtime.Identity{}, refuse("token_invalid", "token has no claim "+a.options.User)
	}
	identity := realtime.Identity{User: users[0], Data: make(map[string]json.RawMessage)}
	for member, claim := range a.options.Data {
		if value, ok := c.get(claim); ok {
			identity.Data[member] = value
		}
	}
	for i, room := range a.options.Rooms {
		names := room.names(c)
		if len(names) == 0 {
			a.noteMissing(i, socket, identity.User)
		}
		identity.Rooms = append(identity.Rooms, names...)
	}
	expires, err := token.Claims.GetExpirationTime()
	if err != nil {
		return realtime.Identity{}, refuse("token_invalid", "token is invalid")
	}
	if expires != nil {
		identity.ExpiresAt = expires.Add(a.options.Leeway)
	}
	return identity, nil
}

// noteMissing logs that a socket does not join the i-th room. Only the first such line
// is at info: tokens without the claim may be common, and right.
func (a *Authenticator) noteMissing(i int, socket, user string) {
	level := zap.InfoLevel
	if a.noted[i].Swap(true) {
		level = zap.DebugLevel
	}
	room := a.options.Rooms[i]
	a.options.Logger.Log(level, "token lacks the claim of a room, and the socket does not join the room",
		zap.String("socket", socket), zap.String("user", user), zap.String("claim", room.claim), zap.Stringer("room", room))
}

// readClaims returns the claims of a verified token as they are written.
func readClaims(text string) (claims, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, gojwt.ErrTokenMalformed
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	var c claims
	return c, json.Unmarshal(payload, &c)
}

// Interface guards
var _ realtime.Authenticator = (*Authenticator)(nil)
