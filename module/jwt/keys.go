package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Keys verify tokens. What kind of key there is says which algorithms are
// taken: a token cannot choose.
type Keys struct {
	secrets []gojwt.VerificationKey // of HMAC
	public  []crypto.PublicKey
	jwks    keyfunc.Keyfunc // nil: none
}

// errKeysUnavailable says that keys have to be fetched and cannot be.
var errKeysUnavailable = errors.New("keys are not available")

// minSecret is the size of the shortest secret, in bytes (RFC 7518, section 3.2).
const minSecret = 32

// AddSecret adds a secret of HMAC. The error says nothing of it.
func (k *Keys) AddSecret(secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("a secret has %d bytes or more, such as what this prints: openssl rand -base64 32", minSecret)
	}
	k.secrets = append(k.secrets, secret)
	return nil
}

// AddPEM adds every public key of a text in PEM: RSA from 2048 bits on, ECDSA on
// the curves P-256, P-384 and P-521, and Ed25519; certificates count for theirs.
func (k *Keys) AddPEM(text []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return err
		}
		k.public = append(k.public, key)
		found = true
	}
	if !found {
		return errors.New("there is no key in PEM, which begins with -----BEGIN PUBLIC KEY-----")
	}
	return nil
}

func parseBlock(block *pem.Block) (key crypto.PublicKey, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		return nil, fmt.Errorf("a %s verifies nothing; write the public key, as of openssl pkey -pubout", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", block.Type, err)
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return nil, fmt.Errorf("the RSA key has %d bits; 2048 are needed", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if size := key.Params().BitSize; size != 256 && size != 384 && size != 521 {
			return nil, fmt.Errorf("the curve %s is not one of P-256, P-384 and P-521", key.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("a key of the type %T is none of RSA, ECDSA and Ed25519", key)
	}
	return key, nil
}

// How keys are fetched.
const (
	fetchTimeout  = 5 * time.Second
	fetchInterval = time.Hour
	maxKeySet     = 1 << 20 // bytes

	// Clients can name keys that do not exist as often as they like.
	unknownInterval = 5 * time.Second
)

// CheckJWKS reports a URL that keys cannot be fetched from: they need TLS,
// except on this machine.
func CheckJWKS(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is no URL; write one such as https://login.example.com/.well-known/jwks.json", text)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s must begin with https: whoever can change the keys on their way can let anybody in", text)
	}
	return nil
}

// Fetch adds the JSON Web Key Set (RFC 7517) of a URL, which is fetched again
// every hour, and when a token has a key that is not known, at most every 5 s,
// until ctx ends. Its public keys count. It is no error if the first attempt fails.
func (k *Keys) Fetch(ctx context.Context, url string, logger *zap.Logger) error {
	if err := CheckJWKS(url); err != nil {
		return err
	}
	client := &http.Client{
		Timeout:   fetchTimeout,
		Transport: limited{http.DefaultTransport},
		// It would lead to where nobody has said that keys come from.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	set, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{url}, keyfunc.Override{
		Client:            client,
		HTTPTimeout:       fetchTimeout,
		RefreshInterval:   fetchInterval,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownInterval), 1),
		RateLimitWaitMax:  unknownInterval,
		RefreshErrorHandlerFunc: func(url string) func(context.Context, error) {
			return func(_ context.Context, err error) {
				logger.Warn("fetching keys failed", zap.String("url", url), zap.Error(err))
			}
		},
	})
	if err != nil {
		return fmt.Errorf("fetching keys: %w", err)
	}
	k.jwks = set
	return nil
}

// limited takes no answers that are longer than any set of keys.
type limited struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(a.Body, maxKeySet), a.Body}
	}
	return a, err
}

// The algorithms of each kind of key.
var (
	ofSecrets = []string{"HS256", "HS384", "HS512"}
	ofRSA     = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	ofECDSA   = []string{"ES256", "ES384", "ES512"}
	ofEd25519 = []string{"EdDSA"}
)

// algorithms returns those that tokens may be signed by.
func (k *Keys) algorithms() []string {
	algorithms := []string{}
	if len(k.secrets) > 0 {
		algorithms = append(algorithms, ofSecrets...)
	}
	if k.jwks != nil {
		algorithms = append(algorithms, ofRSA...)
		algorithms = append(algorithms, ofECDSA...)
		algorithms = append(algorithms, ofEd25519...)
	}
	for _, key := range k.public {
		switch key := key.(type) {
		case *rsa.PublicKey:
			algorithms = append(algorithms, ofRSA...)
		case *ecdsa.PublicKey:
			algorithms = append(algorithms, map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Params().BitSize])
		case ed25519.PublicKey:
			algorithms = append(algorithms, ofEd25519...)
		}
	}
	return algorithms
}

// Empty reports whether there is no key, nor anywhere to fetch one.
func (k *Keys) Empty() bool { return len(k.secrets) == 0 && len(k.public) == 0 && k.jwks == nil }

// find returns what may verify a token, by its algorithm.
func (k *Keys) find(ctx context.Context, t *gojwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok { // extensions that have to be understood; none is (RFC 7515, section 4.1.11)
		return nil, gojwt.ErrTokenUnverifiable
	}
	if _, ok := t.Method.(*gojwt.SigningMethodHMAC); ok {
		return gojwt.VerificationKeySet{Keys: k.secrets}, nil
	}
	var candidates []gojwt.VerificationKey
	for _, key := range k.public {
		if fits(t.Method, key) {
			candidates = append(candidates, key)
		}
	}
	if k.jwks != nil {
		key, err := k.jwks.KeyfuncCtx(ctx)(t)
		switch {
		case err == nil && fits(t.Method, key):
			candidates = append(candidates, key)
		case err != nil && len(candidates) == 0 && !k.decided(ctx, t, err):
			return nil, fmt.Errorf("%w: %w", errKeysUnavailable, err)
		}
	}
	if len(candidates) == 0 {
		return nil, gojwt.ErrTokenUnverifiable
	}
	return gojwt.VerificationKeySet{Keys: candidates}, nil
}

// decided reports whether an error is about the token, and not about a set that
// could not be fetched, or not again so soon.
func (k *Keys) decided(ctx context.Context, t *gojwt.Token, err error) bool {
	all, readErr := k.jwks.Storage().KeyReadAll(ctx)
	if readErr != nil || len(all) == 0 {
		return false
	}
	kid, named := t.Header["kid"].(string)
	return errors.Is(err, jwkset.ErrKeyNotFound) || !named ||
		slices.ContainsFunc(all, func(key jwkset.JWK) bool { return key.Marshal().KID == kid })
}

// fits reports whether a key is of an algorithm.
func fits(method gojwt.SigningMethod, key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch method.(type) {
		case *gojwt.SigningMethodRSA, *gojwt.SigningMethodRSAPSS:
			return true
		}
	case *ecdsa.PublicKey:
		m, ok := method.(*gojwt.SigningMethodECDSA)
		return ok && m.CurveBits == key.Params().BitSize
	case ed25519.PublicKey:
		_, ok := method.(*gojwt.SigningMethodEd25519)
		return ok
	}
	return false
}
