package natsbroker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
)

// An error says what would be right, and never has a password in it.
func TestWrongOptions(t *testing.T) {
	tests := map[string]struct {
		options Options
		want    string
	}{
		"no URL":           {Options{}, "a URL is missing"},
		"a scheme":         {Options{URLs: []string{"redis://u:secret@host"}}, "nats:// or tls://"},
		"malformed":        {Options{URLs: []string{"nats://u:secret%zz@host"}}, "malformed"},
		"no host":          {Options{URLs: []string{"nats://u:secret@"}}, "has no host"},
		"a path":           {Options{URLs: []string{"nats://u:secret@host/3"}}, "more than a host and a port"},
		"two passwords":    {Options{URLs: []string{"nats://u:secret@a", "nats://u:other-secret@b"}}, "differ in more than their hosts"},
		"with and without": {Options{URLs: []string{"nats://a", "tls://b"}}, "differ in more than their hosts"},
		"a wildcard":       {Options{URLs: []string{"nats://a"}, Prefix: "a.*"}, "no NATS subject"},
		"an empty token":   {Options{URLs: []string{"nats://a"}, Prefix: "a..b"}, "no NATS subject"},
		"two users":        {Options{URLs: []string{"nats://u:secret@a"}, Credentials: "file"}, "too many"},
	}
	for name, test := range tests {
		_, err := New(test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUsers(t *testing.T) {
	s := startServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "app", Password: "the-secret", Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{DefaultPrefix + ".>", DefaultPrefix + "-probe.>"}},
			Subscribe: &server.SubjectPermission{Allow: []string{DefaultPrefix + ".>", DefaultPrefix + "-probe.>"}},
		}}}
	})
	url := func(user string) []string {
		return []string{strings.Replace(s.url(), "nats://", "nats://"+user+"@", 1)}
	}
	if err := use(t, Options{URLs: url("app:the-secret")}); err != nil {
		t.Error(err)
	}
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"a wrong password": {Options{URLs: url("app:not-the-secret")}, "Authorization"},
		"nobody":           {Options{URLs: []string{s.url()}}, "Authorization"},
		"another prefix":   {Options{URLs: url("app:the-secret"), Prefix: "other"}, "ermissions"},
		"no server":        {Options{URLs: []string{"nats://u:secret@127.0.0.1:1"}}, "no servers available"},
		"no file":          {Options{URLs: []string{s.url()}, Credentials: "/nowhere"}, "/nowhere"},
	} {
		if err := use(t, test.o); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}

	token := startServer(t, func(o *server.Options) { o.Authorization = "the-secret" })
	if err := use(t, Options{URLs: []string{strings.Replace(token.url(), "nats://", "nats://the-secret@", 1)}}); err != nil {
		t.Errorf("a token: %v", err)
	}
}

// use makes a broker that must connect, and sends an envelope through it.
func use(t *testing.T, o Options) error {
	t.Helper()
	o.Required = true
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	received := make(chan cluster.Envelope, 1)
	if _, err := b.Subscribe(ctx, "topic", func(e cluster.Envelope) { received <- e }); err != nil {
		return err
	}
	if err := b.Publish(ctx, cluster.Envelope{Topic: "topic"}); err != nil {
		return err
	}
	select {
	case <-received:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A file of credentials has a user's JWT, which an account has signed, and the seed of the user's key.
func TestCredentials(t *testing.T) {
	operator, account, user := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateUser)
	operatorClaims := jwt.NewOperatorClaims(publicKey(t, operator))
	accountJWT := encode(t, jwt.NewAccountClaims(publicKey(t, account)), operator)
	userJWT := encode(t, jwt.NewUserClaims(publicKey(t, user)), account)
	encode(t, operatorClaims, operator)

	s := startServer(t, func(o *server.Options) {
		resolver := new(server.MemAccResolver)
		if err := resolver.Store(publicKey(t, account), accountJWT); err != nil {
			t.Fatal(err)
		}
		o.TrustedOperators, o.AccountResolver = []*jwt.OperatorClaims{operatorClaims}, resolver
	})
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := use(t, Options{URLs: []string{s.url()}, Credentials: file}); err != nil {
		t.Error(err)
	}
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) nkeys.KeyPair {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t *testing.T, key nkeys.KeyPair) string {
	t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func encode(t *testing.T, claims jwt.Claims, signer nkeys.KeyPair) string {
	t.Helper()
	text, err := claims.Encode(signer)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A server takes 1 MiB by default, and so all that a broker must. If it takes less, the error says so.
func TestSmallPayloads(t *testing.T) {
	s := startServer(t, func(o *server.Options) { o.MaxPayload = 1000 })
	b, err := New(Options{URLs: []string{s.url()}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	err = b.Publish(context.Background(), cluster.Envelope{Topic: "topic", Payload: make([]byte, 1000)})
	if err == nil || !strings.Contains(err.Error(), "the server takes 1000 at most") {
		t.Error(err)
	}
}

// Different topics have different subjects, each of one token.
func FuzzSubject(f *testing.F) {
	f.Add("broadcast/default", "broadcast.default")
	f.Add("=", "=3D")
	f.Fuzz(func(t *testing.T, a, b string) {
		subject := string(appendSubject(nil, a))
		if (subject == string(appendSubject(nil, b))) != (a == b) {
			t.Errorf("%q and %q are %q", a, b, subject)
		}
		if strings.ContainsAny(subject, ".*> \t\r\n") || (subject == "") != (a == "") {
			t.Errorf("%q is no token", subject)
		}
	})
}
