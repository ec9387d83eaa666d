package caddy

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-realtime/caddy-realtime/caddy/internal/testcaddy"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestRecoveryAsksAgain reloads while a client is away. If the reload changes the authenticators,
// the client is authenticated again when it comes back; else it is not.
func TestRecoveryAsksAgain(t *testing.T) {
	port := testcaddy.FreePort(t)
	text := func(options string) string {
		return fmt.Sprintf("http://127.0.0.1:%d {\nrealtime {\nhub asking\nrelay {\nrooms *\nevents message\n}\n%s\n}\n}\n", port, options)
	}
	load(t, text(""))
	change := func(t *testing.T, options string) {
		t.Helper()
		hub := map[string]string{"apps/realtime/hubs/asking": `{"recovery":{"window":"1m"}}`}
		if err := caddy.Load(patched(t, text(options), hub), true); err != nil {
			t.Fatal(err)
		}
	}
	const backend = "backend {\n handle {\n respond %d\n}\nsecret whsec_%sEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n}"
	for name, test := range map[string]struct{ before, after, want string }{
		"another option":          {"authenticator test anna", "authenticator test anna\nping 20s 20s", "recovered"},
		"another authenticator":   {"authenticator test anna", "authenticator test berta", "anew"},
		"one more":                {"authenticator test anna", "authenticator test anna\nauthenticator test anna", "anew"},
		"none any more":           {"authenticator test anna", "", "anew"},
		"one that refuses":        {"authenticator test anna", "authenticator test nobody", `44{"message":"nobody gets in"}`},
		"the first":               {"", "authenticator test anna", "anew"},
		"where the backend is":    {fmt.Sprintf(backend, 200, "MD"), fmt.Sprintf(backend, 204, "MD"), "anew"},
		"a secret of the backend": {fmt.Sprintf(backend, 200, "MD"), fmt.Sprintf(backend, 200, "MT"), "recovered"},
	} {
		t.Run(name, func(t *testing.T) {
			change(t, test.before)
			conn, packets := enterAs(t, port, "", "")
			pid := pidOf(t, packets[0])
			exchange(t, conn, `421["join","room"]`)
			other, _ := enterAs(t, port, "", "")
			exchange(t, other, `421["join","room"]`)
			exchange(t, other, `422["message","hello"]`)
			offset := offsetOf(t, receive(t, conn))
			_ = conn.NetConn().Close()
			change(t, test.after)
			returning, response := dial(t, port, "/socket.io/")
			if returning == nil {
				t.Fatal(response.Status)
			}
			receive(t, returning)
			got := exchange(t, returning, fmt.Sprintf(`40{"pid":%q,"offset":%q}`, pid, offset))
			if strings.HasPrefix(got, "40{") {
				got = map[bool]string{true: "recovered", false: "anew"}[pidOf(t, got) == pid]
			}
			if got != test.want {
				t.Errorf("who comes back gets %s, want %s", got, test.want)
			}
		})
	}
}

func TestAuthenticationOf(t *testing.T) {
	one, two := []json.RawMessage{json.RawMessage(`{"a":1}`)}, []json.RawMessage{json.RawMessage(`{"a":2}`)}
	plain := []realtime.Authenticator{new(testAuthenticator)}
	with := func(texts ...string) []realtime.Authenticator {
		return []realtime.Authenticator{fingerprinted{new(testAuthenticator), texts}}
	}
	all := []string{
		authenticationOf(nil, nil),
		authenticationOf(one, plain),
		authenticationOf(two, plain),
		authenticationOf(one, with()),
		authenticationOf(one, with("a")),
		authenticationOf(one, with("b")),
		authenticationOf(one, with("a", "b")),
		authenticationOf(one, with("ab")),
		authenticationOf(slices.Concat(one, two), slices.Concat(plain, plain)),
		authenticationOf(slices.Concat(two, one), slices.Concat(plain, plain)),
	}
	for i, a := range all {
		if slices.Contains(all[i+1:], a) {
			t.Errorf("number %d is the same as another", i)
		}
	}
	if all[0] != "" || all[4] != authenticationOf(one, with("a")) {
		t.Errorf("%q", all)
	}
}

type fingerprinted struct {
	*testAuthenticator
	texts []string
}

func (f fingerprinted) Fingerprint() []string { return f.texts }

// TestJWTFingerprint checks that the fingerprint has the keys' values, wherever they come from.
func TestJWTFingerprint(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	file := filepath.Join(t.TempDir(), "key.pem")
	writeKey := func() {
		t.Helper()
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fingerprint := func() []string {
		t.Helper()
		j := &JWT{Secrets: []string{"{env.REALTIME_TEST_SECRET}"}, Keys: []string{file}}
		if err := j.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		return j.Fingerprint()
	}
	t.Setenv("REALTIME_TEST_SECRET", strings.Repeat("a", 32))
	writeKey()
	first := fingerprint()
	if !slices.Equal(first, fingerprint()) {
		t.Error("it differs from itself")
	}
	t.Setenv("REALTIME_TEST_SECRET", strings.Repeat("b", 32))
	second := fingerprint()
	writeKey()
	if third := fingerprint(); slices.Equal(first, second) || slices.Equal(second, third) {
		t.Error("another key has the same fingerprint")
	}
}
