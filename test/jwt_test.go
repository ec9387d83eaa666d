package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	gojwt "github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/bcrypt"
)

const jwtSecret = "the-secret-of-those-who-sign-tokens-0123456789"

// A keyServer serves the public key of signed tokens as a key set.
type keyServer struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	set := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","x":%q,"y":%q}]}`, encode(raw[1:33]), encode(raw[33:]))
	s := &keyServer{key: key}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, set) }))
	t.Cleanup(s.Close)
	return s
}

// signToken signs a token by the key server's key, or by the secret if there is no key
// server.
func signToken(t *testing.T, by *keyServer, user string, life time.Duration, issuer string) string {
	t.Helper()
	claims := gojwt.MapClaims{
		"sub": user, "iss": issuer, "aud": "realtime", "exp": time.Now().Add(life).Unix(),
		"org_id": "o1", "role": "admin", "email": user + "@example.com", "teams": []string{"red", "blue"},
	}
	token, key := gojwt.NewWithClaims(gojwt.SigningMethodHS256, claims), any([]byte(jwtSecret))
	if by != nil {
		token, key = gojwt.NewWithClaims(gojwt.SigningMethodES256, claims), by.key
		token.Header["kid"] = "k1"
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestJWT has real clients send tokens in every place that a client can.
func TestJWT(t *testing.T) {
	t.Parallel()
	a := harness.NewBackend(t, "a")
	keys := newKeyServer(t)
	s := harness.Start(t, harness.Shipped, harness.Config{Site: `log
	realtime {
		websocket /ws
		authenticator jwt {
			secret ` + jwtSecret + `
			jwks ` + keys.URL + `/jwks.json
			token auth.token header:Authorization header:X-Token cookie:jwt query:access_token
			issuer https://login.example.com/
			audience realtime
			data organizationId org_id
			data role
			data email
			rooms org:{claims.org_id} team:{claims.teams}
		}
		handler backend ` + a.URL() + ` {
			secret ` + harness.FirstSecret + ` ` + harness.SecondSecret + `
			timeout 30s 30s
		}
	}`})
	const issuer = "https://login.example.com/"
	tokens := map[string]string{
		"SECRET":  signToken(t, nil, "ann", time.Hour, issuer),
		"JWKS":    signToken(t, keys, "bob", time.Hour, issuer),
		"EXPIRED": signToken(t, nil, "ann", -time.Hour, issuer),
		"FOREIGN": signToken(t, nil, "ann", time.Hour, "https://evil.example.com/"),
		"FORGED":  signToken(t, newKeyServer(t), "ann", time.Hour, issuer),
	}
	for _, transports := range []string{"websocket", "polling"} {
		env := []string{"TRANSPORTS", transports}
		for name, token := range tokens {
			env = append(env, "TOKEN_"+name, token)
		}
		n := s.StartNode(t, "jwt.mjs", env...)
		n.Expect("short", nil)
		short := signToken(t, keys, "tim", 10*time.Second, issuer)
		n.Tell(short)
		n.Finish()
		tokens["SHORT over "+transports] = short
	}
	for name, token := range tokens {
		if name != "JWKS" && strings.Contains(s.Log.Text(0), token[len(token)-20:]) { // that one was in a query, too
			t.Errorf("the log has the token %s", name)
		}
	}
	s.Log.Wait(t, 0, "socket disconnected", "reason", "expired", "user", "tim")
}

// TestTokenInSubprotocol has a page send its token as a subprotocol, because pages
// cannot set headers. The server does not send it back and does not log it.
func TestTokenInSubprotocol(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Shipped, harness.Config{Site: `log {
		format filter {
			request>headers>Sec-Websocket-Protocol delete
			request>uri query {
				delete token
			}
		}
	}
	realtime {
		websocket /ws
		authenticator jwt {
			secret ` + jwtSecret + `
			token auth.token header:Sec-WebSocket-Protocol query:token
		}
	}`})
	token := signToken(t, nil, "ann", time.Hour, "")
	for _, path := range []string{harness.WebSocketPath, "/ws"} {
		w, a := s.Dial(t, path, "Sec-WebSocket-Protocol", "bearer, "+token)
		if w == nil || a.Header.Get("Sec-WebSocket-Protocol") != "bearer" {
			t.Fatalf("%s is answered %d %v", path, a.Status, a.Header)
		}
		if path != "/ws" {
			w.Receive() // the handshake
			w.Connect()
		}
		s.Log.Wait(t, 0, "socket connected", "user", "ann")
		w.Close()
		s.Log.Wait(t, 0, "handled request", "status", 101.0)
	}
	if w, a := s.Dial(t, "/ws", "Sec-WebSocket-Protocol", "bearer, "+token+"x"); w != nil || a.Status != http.StatusUnauthorized {
		t.Errorf("a forged token is answered %d", a.Status)
	}
	if w, a := s.Dial(t, "/ws", "Sec-WebSocket-Protocol", token); w != nil || a.Status != http.StatusUnauthorized || strings.Contains(fmt.Sprint(a), token) {
		t.Errorf("a token without bearer is answered %d %v", a.Status, a.Header)
	}
	if w, a := s.Dial(t, "/ws?token=Bearer%20"+token); w == nil {
		t.Errorf("a token in the query is answered %d", a.Status)
	}
	s.Log.WaitCount(t, 5, "handled request")
	if log := s.Log.Text(0); strings.Contains(log, token[len(token)-20:]) {
		t.Errorf("the log has the token:\n%s", log)
	}
}

// TestPlaceholder checks that the user of Caddy's own authentication is the user of the
// socket.
func TestPlaceholder(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("pw"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.WithGuests, harness.Config{Site: fmt.Sprintf(`route {
		basic_auth /private/* {
			ann %s
		}
		handle_path /private/* {
			realtime {
				name private
				health off
				authenticator placeholder {
					data tenant {http.request.header.X-Tenant}
					rooms user:{http.auth.user.id} tenant:{http.request.header.X-Tenant}
				}
				handler echo
			}
		}
		realtime {
			authenticator placeholder {http.request.header.X-User}
			handler echo
		}
	}`, hash)})
	// One client is authenticated. For the other one the placeholder is empty.
	w := s.MustDial(t, "/private/socket.io/?EIO=4&transport=websocket", "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:pw")), "X-Tenant", "{env.HOME}")
	w.Receive()
	w.Connect()
	s.Log.Wait(t, 0, "socket connected", "user", "ann")
	nobody := s.OpenWebSocket(t)
	nobody.Send("40")
	if got := nobody.Next(); got != `44{"message":"not authorized"}` {
		t.Errorf("who is nobody gets %s", got)
	}
	bob := s.OpenWebSocket(t, "X-User", "bob")
	bob.Connect()
	s.Log.Wait(t, 0, "socket connected", "user", "bob")
	if _, refused := s.Dial(t, "/private/socket.io/?EIO=4&transport=websocket"); refused.Status != http.StatusUnauthorized {
		t.Errorf("without a password it is answered %d", refused.Status)
	}
}
