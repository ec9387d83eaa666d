package caddy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/jwt"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func init() { caddy.RegisterModule(new(JWT)) }

// JWT authenticates clients by a JSON Web Token. A client that is refused gets a connect_error
// whose data has a code, such as "token_expired". The connection is closed when the token expires.
//
// At least one of Secrets, Keys and JWKS is required.
type JWT struct {
	// Secrets verify tokens that are signed by HMAC (HS256, HS384, HS512). Each has 32 bytes or
	// more. Write two of them while you replace one by the other. Global placeholders such as
	// {env.SECRET} are filled in when the configuration is loaded.
	Secrets []string `json:"secrets,omitempty"`

	// Keys are public keys in PEM, or the names of files that contain them. They are RSA keys (for
	// RS256, RS384, RS512, PS256, PS384, PS512), ECDSA keys (for ES256, ES384, ES512) or Ed25519
	// keys (for EdDSA).
	Keys []string `json:"keys,omitempty"`

	// JWKS is the URL of a JSON Web Key Set. It is fetched in the background every hour, and when a
	// token has an unknown key, at most every 5s. A token that names no key is verified by the key
	// of the set that fits its algorithm.
	//
	// While the issuer is unavailable, the fetched keys stay valid, also across reloads. If there
	// are no keys yet, the connections of clients are closed, and clients reconnect by themselves.
	JWKS string `json:"jwks,omitempty"`

	// Tokens are the places where a token may be: "auth.<member>" (of what the client sends to
	// authenticate itself), "header:<name>", "cookie:<name>" or "query:<name>". The first place
	// that has a token counts. A token may begin with "Bearer ". Default "auth.token" and
	// "header:Authorization".
	//
	// Pages cannot set headers of a WebSocket, except its subprotocols.
	// "header:Sec-WebSocket-Protocol" takes the token from the subprotocol after one named
	// "bearer", and selects "bearer": new WebSocket(url, ["bearer", token]).
	//
	// The access log contains that header and the query, unless a filter deletes them:
	// "request>headers>Sec-Websocket-Protocol delete" and "request>uri query { delete <name> }".
	Tokens []string `json:"tokens,omitempty"`

	// Issuers are those that are accepted: a token must be from one of them. Default: any.
	Issuers []string `json:"issuers,omitempty"`

	// Audiences are those that are accepted: a token must be for one of them. Default: any.
	Audiences []string `json:"audiences,omitempty"`

	// Leeway is how far the clocks of the issuer and of this server may differ. It applies to when
	// a token expires and to when its validity begins. The time when a token was issued is not
	// checked. Default 0.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// OptionalExpiry accepts tokens that never expire. Default: false; such tokens are refused.
	OptionalExpiry bool `json:"optional_expiry,omitempty"`

	// User is the name of the claim that contains the user's id. Tokens must have it. Default
	// "sub".
	User string `json:"user,omitempty"`

	// Data maps members of the socket's data to the claims that they get their values from. A claim
	// within a claim is written with a dot. A member whose claim a token does not have is left out.
	// Default: none.
	Data map[string]string `json:"data,omitempty"`

	// Rooms are the rooms that the socket joins, such as "org:{claims.org_id}". A room whose claim
	// a token does not have is left out. A claim that is an array makes a room of each of its
	// elements. Default: none.
	Rooms []string `json:"rooms,omitempty"`

	authenticator *jwt.Authenticator
	sources       []jwt.Source
	material      []string // what the keys are made of, for Fingerprint
	set           string   // the URL of the key set in keySets; "" if there is none
}

// keySets are the key sets in use, by their URLs. A new configuration takes over those of
// the old one, since the issuer may be unreachable at that moment.
var keySets = caddy.NewUsagePool()

// A keySet is an entry of keySets.
type keySet struct{ *jwt.KeySet }

// Destruct implements caddy.Destructor.
func (s keySet) Destruct() error {
	s.Close()
	return nil
}

// CaddyModule returns the Caddy module information.
func (*JWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "realtime.authenticators.jwt", New: func() caddy.Module { return new(JWT) }}
}

// Provision implements caddy.Provisioner.
func (j *JWT) Provision(ctx caddy.Context) error {
	if err := j.Validate(); err != nil { // Provision relies on it, and Caddy validates later
		return err
	}
	keys, err := j.loadKeys(true)
	if err != nil {
		return err
	}
	options, err := j.options()
	if err != nil {
		return err
	}
	if j.JWKS != "" {
		set, err := j.hold(caddy.NewReplacer().ReplaceKnown(j.JWKS, ""), ctx.Logger())
		if err != nil {
			return fmt.Errorf("authenticator jwt: jwks: %w", err)
		}
		keys.SetKeySet(set)
	}
	options.Keys, options.Logger = keys, ctx.Logger()
	j.sources = options.Sources
	j.authenticator = jwt.New(options)
	return nil
}

// hold returns the key set of a URL. Other authenticators may share it. Cleanup releases it.
func (j *JWT) hold(url string, logger *zap.Logger) (*jwt.KeySet, error) {
	value, loaded, err := keySets.LoadOrNew(url, func() (caddy.Destructor, error) {
		set, err := jwt.NewKeySet(url, logger)
		return keySet{set}, err
	})
	if err != nil {
		return nil, err
	}
	j.set = url
	set := value.(keySet).KeySet
	if loaded {
		set.SetLogger(logger)
	}
	return set, nil
}

// Cleanup implements caddy.CleanerUpper.
func (j *JWT) Cleanup() error {
	if j.set == "" {
		return nil
	}
	_, err := keySets.Delete(j.set)
	return err
}

// Validate implements caddy.Validator.
func (j *JWT) Validate() error {
	if len(j.Secrets) == 0 && len(j.Keys) == 0 && j.JWKS == "" {
		return errors.New("authenticator jwt: there is no key; " +
			"write a secret, a key in PEM or the URL of a jwks")
	}
	if j.Leeway < 0 {
		return errors.New("authenticator jwt: leeway must be positive")
	}
	if _, err := j.loadKeys(false); err != nil {
		return err
	}
	if j.JWKS != "" && !hasPlaceholder(j.JWKS) {
		if err := jwt.CheckJWKS(j.JWKS); err != nil {
			return fmt.Errorf("authenticator jwt: jwks: %w", err)
		}
	}
	_, err := j.options()
	return err
}

// loadKeys returns the configured keys, with placeholders filled in and files read. If all is
// false, it leaves out the keys that need either. No error contains a secret.
func (j *JWT) loadKeys(all bool) (*jwt.Keys, error) {
	keys := new(jwt.Keys)
	for i, secret := range j.Secrets {
		if !all && hasPlaceholder(secret) {
			continue
		}
		secret, err := expand(fmt.Sprint("authenticator jwt: secret ", i+1), secret)
		if err != nil {
			return nil, err
		}
		if err := keys.AddSecret([]byte(secret)); err != nil {
			return nil, fmt.Errorf("authenticator jwt: secret %d: %w", i+1, err)
		}
		if all {
			j.material = append(j.material, secret)
		}
	}
	for i, key := range j.Keys {
		isText := strings.Contains(key, "-----BEGIN")
		if !all && !isText {
			continue
		}
		text := []byte(key)
		if !isText {
			var err error
			if text, err = os.ReadFile(caddy.NewReplacer().ReplaceKnown(key, "")); err != nil {
				return nil, fmt.Errorf("authenticator jwt: key %d: %w", i+1, err)
			}
		}
		if err := keys.AddPEM(text); err != nil {
			return nil, fmt.Errorf("authenticator jwt: key %d: %w", i+1, err)
		}
		if all {
			j.material = append(j.material, string(text))
		}
	}
	return keys, nil
}

// options returns the authenticator's options without its keys.
func (j *JWT) options() (jwt.Options, error) {
	o := jwt.Options{
		Issuers:        j.Issuers,
		Audiences:      j.Audiences,
		Leeway:         time.Duration(j.Leeway),
		OptionalExpiry: j.OptionalExpiry,
		User:           j.User,
		Data:           j.Data,
		Sources:        slices.Clone(jwt.DefaultSources),
	}
	if len(j.Tokens) > 0 {
		o.Sources = nil
	}
	for _, text := range j.Tokens {
		source, err := jwt.ParseSource(text)
		if err != nil {
			return o, fmt.Errorf("authenticator jwt: token: %w", err)
		}
		o.Sources = append(o.Sources, source)
	}
	for _, text := range j.Rooms {
		room, err := jwt.ParseRoom(text)
		if err != nil {
			return o, fmt.Errorf("authenticator jwt: %w", err)
		}
		o.Rooms = append(o.Rooms, room)
	}
	return o, nil
}

// Authenticate implements realtime.Authenticator.
func (j *JWT) Authenticate(ctx context.Context, namespace string, h *realtime.Handshake) (realtime.Identity, error) {
	return j.authenticator.Authenticate(ctx, namespace, h)
}

// Fingerprint implements Fingerprinter. It returns the keys, with placeholders filled in and files
// read, and the URL of the JWKS. The set at that URL may change by itself and is left out.
func (j *JWT) Fingerprint() []string {
	return append(slices.Clone(j.material), caddy.NewReplacer().ReplaceKnown(j.JWKS, ""))
}

// HandshakeHeaders implements HeaderReader.
func (j *JWT) HandshakeHeaders() []string {
	var names []string
	for _, source := range j.sources {
		if name := source.Header(); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler. Syntax:
//
//	authenticator jwt {
//		secret   <secret>...
//		key      <pem|file>...
//		jwks     <url>
//		token    auth.<member>|header:<name>|cookie:<name>|query:<name>...
//		issuer   <issuer>...
//		audience <audience>...
//		leeway   <duration>
//		expiry   required|optional
//		user     <claim>
//		data     <member> [<claim>]
//		rooms    <room>...
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the authenticator's name
	where := newPositions(d)
	if d.NextArg() {
		return d.Err("authenticator jwt takes a block, with a secret, a key or jwks")
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option, args := d.Val(), d.RemainingArgs()
		if option == "{" {
			return d.Err("authenticator jwt: options take no block")
		}
		if seen[option] && option != "data" {
			return d.Errf("authenticator jwt: %s is there already; write it once", option)
		}
		seen[option] = true
		where.add(option, d)
		if err := j.parseOption(d, option, args); err != nil {
			return err
		}
	}
	if err := j.Validate(); err != nil {
		return where.wrap("authenticator jwt: ", err)
	}
	return nil
}

func (j *JWT) parseOption(d *caddyfile.Dispenser, option string, args []string) error {
	lists := map[string]struct {
		field   *[]string
		example string
	}{
		"secret":   {&j.Secrets, "secrets, such as {env.JWT_SECRET}"},
		"key":      {&j.Keys, "public keys in PEM, or files of them"},
		"token":    {&j.Tokens, "places, such as auth.token header:Authorization cookie:session"},
		"issuer":   {&j.Issuers, "issuers, such as https://login.example.com/"},
		"audience": {&j.Audiences, "audiences"},
		"rooms":    {&j.Rooms, "rooms, such as org:{claims.org_id}"},
	}
	if list, ok := lists[option]; ok {
		if len(args) == 0 {
			return d.Errf("authenticator jwt: %s takes one or more %s", option, list.example)
		}
		*list.field = args
		return nil
	}
	switch option {
	case "jwks":
		if len(args) != 1 {
			return d.Err("authenticator jwt: jwks takes one URL, " +
				"such as https://login.example.com/.well-known/jwks.json")
		}
		j.JWKS = args[0]
	case "leeway":
		if len(args) != 1 {
			return d.Err("authenticator jwt: leeway takes one duration, such as 10s")
		}
		return parseDuration(d, "authenticator jwt: leeway", args[0], &j.Leeway)
	case "expiry":
		if len(args) != 1 || args[0] != "required" && args[0] != "optional" {
			return d.Err("authenticator jwt: expiry takes required or optional")
		}
		j.OptionalExpiry = args[0] == "optional"
	case "user":
		if len(args) != 1 {
			return d.Err("authenticator jwt: user takes one claim, such as sub")
		}
		j.User = args[0]
	case "data":
		if len(args) < 1 || len(args) > 2 {
			return d.Err("authenticator jwt: data takes the name of a member, " +
				"and the claim if that has another name, such as data organizationId org_id")
		}
		if _, ok := j.Data[args[0]]; ok {
			return d.Errf("authenticator jwt: data %s is there already; write it once", args[0])
		}
		if j.Data == nil {
			j.Data = make(map[string]string)
		}
		j.Data[args[0]] = args[len(args)-1]
	default:
		return d.Errf("authenticator jwt has no option %q%s; "+
			"it has audience, data, expiry, issuer, jwks, key, leeway, rooms, secret, token and user",
			option, didYouMean(option, []string{
				"audience", "data", "expiry", "issuer", "jwks", "key", "leeway", "rooms", "secret", "token", "user",
			}))
	}
	return nil
}

// Interface guards
var (
	_ realtime.Authenticator = (*JWT)(nil)
	_ HeaderReader           = (*JWT)(nil)
	_ Fingerprinter          = (*JWT)(nil)
	_ caddy.Provisioner      = (*JWT)(nil)
	_ caddy.Validator        = (*JWT)(nil)
	_ caddyfile.Unmarshaler  = (*JWT)(nil)
)
