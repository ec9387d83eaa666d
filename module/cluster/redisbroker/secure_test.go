package redisbroker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// The commands that the documentation says a user must be allowed to call are enough.
func TestUser(t *testing.T) {
	server := redisserver.New(t, "--user", "app", "on", ">secret", "&"+DefaultPrefix+"*",
		"+publish", "+subscribe", "+unsubscribe", "+spublish", "+ssubscribe", "+sunsubscribe", "+ping")
	url := strings.Replace(server.URL(), "redis://", "redis://app:secret@", 1)
	for name, o := range map[string]Options{
		"in the URL":     {URLs: []string{url}},
		"in the options": {URLs: []string{server.URL()}, Username: "app", Password: "secret"},
		"sharded":        {URLs: []string{url}, Sharded: true},
	} {
		if err := use(t, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"a wrong password": {Options{URLs: []string{server.URL()}, Username: "app", Password: "not-the-secret"}, "WRONGPASS"},
		"another prefix":   {Options{URLs: []string{url}, Prefix: "other"}, "NOPERM"},
	} {
		if err := use(t, test.o); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
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
	ctx, cancel := context.WithTimeout(context.Background(), redisserver.Timeout)
	defer cancel()
	received := make(chan cluster.Envelope, 1)
	s, err := b.Subscribe(ctx, "topic", func(e cluster.Envelope) { received <- e })
	if err != nil {
		return err
	}
	if err := b.Publish(ctx, cluster.Envelope{Topic: "topic"}); err != nil {
		return err
	}
	select {
	case <-received:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Close() // UNSUBSCRIBE must be allowed, too
}

func TestTLS(t *testing.T) {
	certificate, pool := selfSigned(t)
	server := redisserver.New(t)
	port := redisserver.FreePort(t)
	server.Do("CONFIG", "SET", "tls-cert-file", certificate, "tls-key-file", certificate, "tls-auth-clients", "no", "tls-port", strconv.Itoa(port))
	urls := []string{fmt.Sprintf("rediss://127.0.0.1:%d", port)}
	if err := use(t, Options{URLs: urls, TLS: &tls.Config{RootCAs: pool}}); err != nil {
		t.Error(err)
	}
	if err := use(t, Options{URLs: urls}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
}

// selfSigned returns a file with a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (file string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encodedKey})...)
	file = filepath.Join(t.TempDir(), "certificate.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, pool
}

// A server that is none, a Sentinel, or one of several that are not in a cluster, is refused.
func TestWrongServers(t *testing.T) {
	f := redisserver.NewFailover(t)
	for name, test := range map[string]struct {
		urls []string
		want string
	}{
		"nobody":     {[]string{"redis://127.0.0.1:1"}, "connection refused"},
		"a Sentinel": {[]string{f.Sentinel.URL()}, "the option sentinel"},
		"two":        {[]string{f.Master.URL(), f.Replica.URL()}, "not in a cluster"},
	} {
		if err := use(t, Options{URLs: test.urls}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := use(t, Options{URLs: []string{f.Sentinel.URL()}, Sentinel: "another"}); err == nil || !strings.Contains(err.Error(), `"another"`) {
		t.Errorf("another name at the Sentinel: %v", err)
	}
}
