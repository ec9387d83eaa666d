package caddy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(Placeholder)) }

// Placeholder identifies clients by what other HTTP handlers of the site know of them:
// the user's id is a placeholder of the handshake's request. If it is empty, the client is
// refused.
type Placeholder struct {
	// User is the user's id: a placeholder, or a text with placeholders. Default
	// "{http.auth.user.id}", which basic_auth and Caddy's other authentication handlers set.
	User string `json:"user,omitempty"`

	// Data maps members of the socket's data to texts with placeholders. A member is left out if a
	// placeholder of its text is empty. Default: none.
	Data map[string]string `json:"data,omitempty"`

	// Rooms are the rooms that the socket joins. They are texts with placeholders. A room is left
	// out if a placeholder of it is empty. Default: none.
	Rooms []string `json:"rooms,omitempty"`
}

const defaultUser = "{http.auth.user.id}"

// CaddyModule returns the Caddy module information.
func (*Placeholder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.authenticators.placeholder", New: func() caddy.Module { return new(Placeholder) }}
}

// Validate implements caddy.Validator.
func (p *Placeholder) Validate() error {
	if !hasPlaceholder(p.user()) {
		return fmt.Errorf("authenticator placeholder: %q has no placeholder, "+
			"so that everybody would be the same user; write one such as %s", p.User, defaultUser)
	}
	for member, text := range p.Data {
		if member == "" || text == "" {
			return errors.New("authenticator placeholder: data takes the name of a member and a placeholder")
		}
	}
	if slices.Contains(p.Rooms, "") {
		return errors.New("authenticator placeholder: a room has a name")
	}
	return nil
}

func hasPlaceholder(text string) bool {
	open := strings.Index(text, "{")
	return open >= 0 && strings.Contains(text[open:], "}")
}

func (p *Placeholder) user() string {
	if p.User == "" {
		return defaultUser
	}
	return p.User
}

// HandshakeValues implements PlaceholderReader.
func (p *Placeholder) HandshakeValues() []string {
	texts := append([]string{p.user()}, p.Rooms...)
	for _, text := range p.Data {
		texts = append(texts, text)
	}
	return texts
}

// Authenticate implements realtime.Authenticator.
func (p *Placeholder) Authenticate(_ context.Context, _ string, h *realtime.Handshake) (realtime.Identity, error) {
	user := h.Values[p.user()]
	if user == "" {
		return realtime.Identity{}, &realtime.ConnectError{Message: "not authorized", Status: http.StatusUnauthorized}
	}
	identity := realtime.Identity{User: user, Data: make(map[string]json.RawMessage)}
	for member, text := range p.Data {
		if value := h.Values[text]; value != "" {
			identity.Data[member], _ = json.Marshal(value) // a string
		}
	}
	for _, text := range p.Rooms {
		if room := h.Values[text]; room != "" {
			identity.Rooms = append(identity.Rooms, room)
		}
	}
	return identity, nil
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	authenticator placeholder [<user>] {
//		data  <member> <text>
//		rooms <text>...
//	}
func (p *Placeholder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the authenticator's name
	where := newPositions(d)
	args := d.RemainingArgs()
	if len(args) > 1 {
		return d.Errf("authenticator placeholder takes one placeholder for the user, such as %s", defaultUser)
	}
	if len(args) == 1 {
		p.User = args[0]
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option, args := d.Val(), d.RemainingArgs()
		where.add(option, d)
		switch option {
		case "data":
			if len(args) != 2 {
				return d.Err("authenticator placeholder: data takes the name of a member and " +
					"a placeholder, such as data email {http.auth.user.email}")
			}
			if _, ok := p.Data[args[0]]; ok {
				return d.Errf("authenticator placeholder: data %s is there already; write it once", args[0])
			}
			if p.Data == nil {
				p.Data = make(map[string]string)
			}
			p.Data[args[0]] = args[1]
		case "rooms":
			if len(args) == 0 {
				return d.Err("authenticator placeholder: rooms takes one or more rooms, " +
					"such as user:{http.auth.user.id}")
			}
			p.Rooms = append(p.Rooms, args...)
		default:
			return d.Errf("authenticator placeholder has no option %q%s; it has data and rooms",
				option, didYouMean(option, []string{"data", "rooms"}))
		}
	}
	if err := p.Validate(); err != nil {
		return where.wrap("authenticator placeholder: ", err)
	}
	return nil
}

// Interface guards
var (
	_ realtime.Authenticator = (*Placeholder)(nil)
	_ PlaceholderReader      = (*Placeholder)(nil)
	_ caddy.Validator        = (*Placeholder)(nil)
	_ caddyfile.Unmarshaler  = (*Placeholder)(nil)
)
