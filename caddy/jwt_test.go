package caddy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	gojwt "github.com/golang-jwt/jwt/v5"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
)

// TestKeySetAcrossReloads reloads while the issuer is unavailable. The fetched keys stay valid. If
// there are no keys yet, no client is told that its token is wrong.
func TestKeySetAcrossReloads(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		encode := base64.RawURLEncoding.EncodeToString
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","x":%q,"y":%q}]}`, encode(raw[1:33]), encode(raw[33:]))
	}))
	defer issuer.Close()
	token, err := gojwt.NewWithClaims(gojwt.SigningMethodES256, gojwt.MapClaims{"sub": "u1", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	port := testcaddy.FreePort(t)
	site := func(path, options string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\n\trealtime {\n\t\tauthenticator jwt {\n\t\t\tjwks %s%s\n%s\n\t\t}\n\t}\n}", port, issuer.URL, path, options)
	}
	// enter connects with the token. It returns the server's answer, or "" if the connection is
	// closed.
	enter := func() string {
		conn := connect(t, port, "/socket.io/")
		receive(t, conn) // open
		if err := conn.WriteMessage(1, []byte(`40{"token":"`+token+`"}`)); err != nil {
			t.Fatal(err)
		}
		packet, err := next(conn)
		if err != nil {
			return ""
		}
		return packet
	}
	load(t, site("/keys", ""))
	if got := enter(); !strings.HasPrefix(got, `40{"sid"`) {
		t.Fatalf("the client gets %q", got)
	}
	away.Store(true)
	for _, options := range []string{"\t\t\tleeway 1s", "\t\t\tleeway 2s"} {
		if err := caddy.Load(config(t, site("/keys", options)), true); err != nil {
			t.Fatal(err)
		}
		if got := enter(); !strings.HasPrefix(got, `40{"sid"`) {
			t.Errorf("after a reload the client gets %q", got)
		}
	}
	if n, _ := keySets.References(issuer.URL + "/keys"); n != 1 {
		t.Errorf("%d configurations use the keys", n)
	}
	if err := caddy.Load(config(t, site("/others", "")), true); err != nil {
		t.Fatal(err)
	}
	if got := enter(); got != "" {
		t.Errorf("without any keys the client gets %q", got)
	}
	if n, _ := keySets.References(issuer.URL + "/keys"); n != 0 {
		t.Errorf("%d configurations use the keys that none needs", n)
	}
}
