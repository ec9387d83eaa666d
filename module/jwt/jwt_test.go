package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/internal/leak"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestMain(m *testing.M) { leak.Main(m) }

var testSecret = []byte(strings.Repeat("s", 32))

// mint signs a token that is good for an hour, but for the claims given.
func mint(t *testing.T, method gojwt.SigningMethod, key any, kid string, claims gojwt.MapClaims) string {
	t.Helper()
	all := gojwt.MapClaims{"sub": "u1", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	token := gojwt.NewWithClaims(method, all)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func byAuth(token string) *realtime.Handshake {
	auth, _ := json.Marshal(map[string]string{"token": token})
	return &realtime.Handshake{Auth: auth, Header: make(http.Header)}
}

func secretKeys(t *testing.T) *Keys {
	t.Helper()
	keys := new(Keys)
	if err := keys.AddSecret(testSecret); err != nil {
		t.Fatal(err)
	}
	return keys
}

// codeOf returns the code that a client gets; "" if it is let in.
func codeOf(err error) string {
	if err == nil {
		return ""
	}
	refusal, ok := errors.AsType[*realtime.ConnectError](err)
	if !ok {
		return "internal"
	}
	var data struct{ Code string }
	_ = json.Unmarshal(refusal.Data, &data)
	return data.Code
}

func TestClaims(t *testing.T) {
	hs := gojwt.SigningMethodHS256
	now := time.Now()
	for name, tt := range map[string]struct {
		options Options
		token   string
		want    string
	}{
		"good":              {Options{}, mint(t, hs, testSecret, "", nil), ""},
		"missing":           {Options{}, "", "token_missing"},
		"malformed":         {Options{}, "a.b.c", "token_invalid"},
		"huge":              {Options{}, strings.Repeat("a", maxToken+1), "token_invalid"},
		"another secret":    {Options{}, mint(t, hs, []byte(strings.Repeat("x", 32)), "", nil), "token_invalid"},
		"expired":           {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), "token_expired"},
		"expired, unsigned": {Options{}, mint(t, hs, []byte("other"), "", gojwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), "token_invalid"},
		"within leeway":     {Options{Leeway: time.Hour}, mint(t, hs, testSecret, "", gojwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), ""},
		"without exp":       {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"exp": nil}), "token_invalid"},
		"exp is optional":   {Options{OptionalExpiry: true}, mint(t, hs, testSecret, "", gojwt.MapClaims{"exp": nil}), ""},
		"exp is text":       {Options{OptionalExpiry: true}, mint(t, hs, testSecret, "", gojwt.MapClaims{"exp": "tomorrow"}), "token_invalid"},
		"early":             {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"nbf": now.Add(time.Hour).Unix()}), "token_not_yet_valid"},
		"of the future":     {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"iat": now.Add(time.Hour).Unix()}), ""},
		"issuer":            {Options{Issuers: []string{"a", "b"}}, mint(t, hs, testSecret, "", gojwt.MapClaims{"iss": "b"}), ""},
		"another issuer":    {Options{Issuers: []string{"a", "b"}}, mint(t, hs, testSecret, "", gojwt.MapClaims{"iss": "c"}), "token_issuer"},
		"no issuer":         {Options{Issuers: []string{"a"}}, mint(t, hs, testSecret, "", nil), "token_issuer"},
		"audience":          {Options{Audiences: []string{"a", "b"}}, mint(t, hs, testSecret, "", gojwt.MapClaims{"aud": []string{"x", "b"}}), ""},
		"another audience":  {Options{Audiences: []string{"a"}}, mint(t, hs, testSecret, "", gojwt.MapClaims{"aud": "x"}), "token_audience"},
		"no user":           {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"sub": nil}), "token_invalid"},
		"empty user":        {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"sub": ""}), "token_invalid"},
		"many users":        {Options{}, mint(t, hs, testSecret, "", gojwt.MapClaims{"sub": []string{"a", "b"}}), "token_invalid"},
	} {
		tt.options.Keys = secretKeys(t)
		_, err := New(tt.options).Authenticate(t.Context(), "/", byAuth(tt.token))
		if got := codeOf(err); got != tt.want {
			t.Errorf("%s: %q (%v), want %q", name, got, err, tt.want)
		}
		if err != nil && tt.token != "" && len(tt.token) < maxToken && strings.Contains(err.Error(), tt.token) {
			t.Errorf("%s: the error has the token: %v", name, err)
		}
	}
}

// TestRefusalLogged: the log has more of what is wrong than the client.
func TestRefusalLogged(t *testing.T) {
	for _, test := range []struct {
		claims    gojwt.MapClaims
		told, log string
	}{
		{gojwt.MapClaims{"exp": nil}, "token is invalid", "exp claim is required"},
		{gojwt.MapClaims{"iss": "https://x.example"}, "token is of another issuer", `its iss is "https://x.example", and not one of ["https://x.example/"]`},
		{gojwt.MapClaims{"iss": "https://x.example/", "aud": []string{"a", "b"}}, "token is for another audience", `its aud is ["a" "b"], and not one of ["c"]`},
	} {
		o := Options{Keys: secretKeys(t), Issuers: []string{"https://x.example/"}, Audiences: []string{"c"}}
		if test.claims["aud"] == nil {
			o.Audiences = nil
		}
		_, err := New(o).Authenticate(t.Context(), "/", byAuth(mint(t, gojwt.SigningMethodHS256, testSecret, "", test.claims)))
		refusal, ok := errors.AsType[*realtime.ConnectError](err)
		if !ok || refusal.Message != test.told || !strings.Contains(err.Error(), test.log) {
			t.Errorf("%v: %v", test.claims, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	rooms := []Room{}
	for _, text := range []string{"all", "org:{claims.org_id}", "role:{claims.realm.roles}:x", "team:{claims.none}", "n:{claims.number}", "o:{claims.realm}", "url:{claims.https://example.com/org}"} {
		room, err := ParseRoom(text)
		if err != nil {
			t.Fatal(err)
		}
		rooms = append(rooms, room)
	}
	exp := time.Now().Add(time.Hour).Truncate(time.Second)
	a := New(Options{
		Keys: secretKeys(t), User: "uid", Leeway: time.Second, Rooms: rooms,
		Data: map[string]string{"organizationId": "org_id", "roles": "realm.roles", "none": "none", "null": "null", "big": "number"},
	})
	identity, err := a.Authenticate(t.Context(), "/", byAuth("Bearer "+mint(t, gojwt.SigningMethodHS512, testSecret, "", gojwt.MapClaims{
		"uid": 12345678901234567, "org_id": "o1", "realm": map[string]any{"roles": []any{"a", "", "b", nil, []int{1}}}, "null": nil,
		"number": 7, "https://example.com/org": "{claims.org_id}", "exp": exp.Unix(),
	})))
	if err != nil {
		t.Fatal(err)
	}
	if identity.User != "12345678901234567" || !identity.ExpiresAt.Equal(exp.Add(time.Second)) {
		t.Errorf("the identity is %+v", identity)
	}
	if want := []string{"all", "org:o1", "role:a:x", "role:b:x", "n:7", "url:{claims.org_id}"}; !slices.Equal(identity.Rooms, want) {
		t.Errorf("the rooms are %q, want %q", identity.Rooms, want)
	}
	if got, _ := json.Marshal(identity.Data); string(got) != `{"big":7,"organizationId":"o1","roles":["a","","b",null,[1]]}` {
		t.Errorf("the data is %s", got)
	}
}

// TestMissingClaim: the log says which claim a token lacks for a room, of each room
// once at info and then at debug.
func TestMissingClaim(t *testing.T) {
	const text = "org:{claims.org_id}:x"
	room, err := ParseRoom(text)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	a := New(Options{Keys: secretKeys(t), Rooms: []Room{{before: "all"}, room}, Logger: zap.New(core)})
	for _, claims := range []gojwt.MapClaims{{"org_id": "o1"}, nil, {"org_id": []any{}}, {"org_id": "o2"}} {
		h := byAuth(mint(t, gojwt.SigningMethodHS256, testSecret, "", claims))
		h.SocketID = "s1"
		if _, err := a.Authenticate(t.Context(), "/", h); err != nil {
			t.Error(err)
		}
	}
	levels := []zapcore.Level{zap.InfoLevel, zap.DebugLevel}
	want := map[string]any{"socket": "s1", "user": "u1", "claim": "org_id", "room": text}
	for i, line := range logs.All() {
		if i >= len(levels) || line.Level != levels[i] || !maps.Equal(line.ContextMap(), want) {
			t.Errorf("the log has %s %s %v", line.Level, line.Message, line.ContextMap())
		}
	}
	if logs.Len() != len(levels) {
		t.Errorf("the log has %d lines, want %d", logs.Len(), len(levels))
	}
}

// TestHeader: no token says where its key is, nor what it takes to read it.
func TestHeader(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	for name, want := range map[string]string{"crit": "token_invalid", "jku": "", "x5u": "", "jwk": ""} {
		token := gojwt.NewWithClaims(gojwt.SigningMethodHS256, gojwt.MapClaims{"sub": "u1", "exp": time.Now().Add(time.Hour).Unix()})
		token.Header["kid"] = "../../dev/null"
		token.Header[name] = map[string]any{"crit": []string{"exp"}, "jwk": map[string]string{"kty": "oct", "k": "AAAA"}}[name]
		if token.Header[name] == nil {
			token.Header[name] = elsewhere.URL
		}
		text, err := token.SignedString(testSecret)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(Options{Keys: secretKeys(t)}).Authenticate(t.Context(), "/", byAuth(text)); codeOf(err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("keys are fetched from where tokens say, %d times", n)
	}
}

func TestParseRoom(t *testing.T) {
	for text, good := range map[string]bool{
		"all": true, "{claims.a}": true, "x{claims.a.b}y": true,
		"": false, "{a}": false, "{claims.}": false, "{claims.a}{claims.b}": false, "x}": false, "{{claims.a}}": false,
	} {
		if _, err := ParseRoom(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSources(t *testing.T) {
	token := mint(t, gojwt.SigningMethodHS256, testSecret, "", nil)
	full := &realtime.Handshake{
		Auth:   json.RawMessage(`{"token":"` + token + `","jwt":"` + token + `"}`),
		Header: http.Header{"Authorization": {"bearer " + token}, "X-Token": {token}, "Cookie": {"a=1; jwt=" + token}},
		Query:  map[string][]string{"access_token": {token}},
	}
	full.Header["Sec-Websocket-Protocol"] = []string{"bearer, " + token}
	full.Header.Add("Cookie", "quoted=\"Bearer "+token+"\"")
	full.Query["bearer"] = []string{"Bearer " + token}
	full.Query["basic"] = []string{"Basic " + token}
	for text, want := range map[string]string{
		"header:Sec-WebSocket-Protocol": "", "header:sec-websocket-protocol": "", "query:bearer": "", "query:basic": "token_missing", "cookie:quoted": "",
		"auth.token": "", "auth.jwt": "", "header:Authorization": "", "header:x-token": "", "cookie:jwt": "", "query:access_token": "",
		"auth.other": "token_missing", "cookie:b": "token_missing", "query:x": "token_missing", "header:X-Other": "token_missing",
	} {
		source, err := ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		a := New(Options{Keys: secretKeys(t), Sources: []Source{source}})
		if _, err := a.Authenticate(t.Context(), "/", full); codeOf(err) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"", "token", "auth:token", "header", "header:", "cookie.a", "query.a", "header:a b", "body:x"} {
		if _, err := ParseSource(text); err == nil {
			t.Errorf("%q is a source", text)
		}
	}
	protocols, err := ParseSource("header:Sec-WebSocket-Protocol")
	if err != nil {
		t.Fatal(err)
	}
	for offered, want := range map[string]string{
		"bearer|t": "t", "bearer,t": "t", "Bearer, t ,chat": "t", "chat, bearer, t": "t", // of several lines, too
		"": "", "t": "", "bearer": "", "bearer,": "", "chat, t": "", "t, bearer": "", "bearertoken, t": "", "bearer t": "",
	} {
		h := &realtime.Handshake{Header: http.Header{"Sec-Websocket-Protocol": strings.Split(offered, "|")}}
		if got := protocols.read(h); got != want {
			t.Errorf("%q has the token %q, want %q", offered, got, want)
		}
	}
	for name, h := range map[string]*realtime.Handshake{
		"basic":       {Header: http.Header{"Authorization": {"Basic dTpw"}}},
		"no object":   {Auth: json.RawMessage(`[1]`), Header: http.Header{}},
		"no string":   {Auth: json.RawMessage(`{"token":1}`), Header: http.Header{}},
		"nothing":     {Header: http.Header{}},
		"only a name": {Header: http.Header{"Authorization": {"Bearer "}}},
	} {
		if _, err := New(Options{Keys: secretKeys(t)}).Authenticate(t.Context(), "/", h); codeOf(err) != "token_missing" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func toPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestAlgorithms: the kind of key says which algorithms are taken.
func TestAlgorithms(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pems := map[string][]byte{"rsa": toPEM(t, &rsaKey.PublicKey), "ec": toPEM(t, &ecKey.PublicKey), "ed": toPEM(t, edPublic)}
	none, err := gojwt.NewWithClaims(gojwt.SigningMethodNone, gojwt.MapClaims{"sub": "u1", "exp": 9e9}).SignedString(gojwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{
		"none": none,
		"hs":   mint(t, gojwt.SigningMethodHS256, testSecret, "", nil),
		"rs":   mint(t, gojwt.SigningMethodRS256, rsaKey, "", nil),
		"ps":   mint(t, gojwt.SigningMethodPS512, rsaKey, "", nil),
		"es":   mint(t, gojwt.SigningMethodES256, ecKey, "", nil),
		"ed":   mint(t, gojwt.SigningMethodEdDSA, edKey, "", nil),
	}
	for _, key := range pems { // a public key as if it were a secret
		tokens["confused"+string(key[40:60])] = mint(t, gojwt.SigningMethodHS256, key, "", nil)
	}
	for name, good := range map[string][]string{"rsa": {"rs", "ps"}, "ec": {"es"}, "ed": {"ed"}, "secret": {"hs"}} {
		keys := new(Keys)
		if name == "secret" {
			keys = secretKeys(t)
		} else if err := keys.AddPEM(pems[name]); err != nil {
			t.Fatal(err)
		}
		for kind, token := range tokens {
			want := "token_invalid"
			if slices.Contains(good, kind) {
				want = ""
			}
			if _, err := New(Options{Keys: keys}).Authenticate(t.Context(), "/", byAuth(token)); codeOf(err) != want {
				t.Errorf("%s by %s: %v", kind, name, err)
			}
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil { // newer Go makes none
		if err := new(Keys).AddPEM(toPEM(t, &small.PublicKey)); err == nil {
			t.Error("a key of 1024 bits is taken")
		}
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	for _, text := range [][]byte{private, nil, []byte("text"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})} {
		if err := new(Keys).AddPEM(text); err == nil {
			t.Errorf("%.40q is a key", text)
		}
	}
	if err := new(Keys).AddSecret(testSecret[:31]); err == nil || strings.Contains(err.Error(), "sss") {
		t.Errorf("a short secret: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x",null]}}`), "a.b", "r:{claims.a.b}")
	f.Add([]byte(`{"a.b":true}`), "a.b", "x")
	f.Fuzz(func(t *testing.T, payload []byte, name, room string) {
		var c claims
		if json.Unmarshal(payload, &c) != nil {
			return
		}
		if value, ok := c.get(name); ok && !json.Valid(value) {
			t.Errorf("%s of %s is %s", name, payload, value)
		}
		c.texts(name)
		r, err := ParseRoom(room)
		if err != nil {
			return
		}
		if r.String() != room {
			t.Errorf("%q is written %q", room, r)
		}
		for _, n := range r.names(c) {
			if n == "" {
				t.Errorf("%q of %s has no name", room, payload)
			}
		}
	})
}
