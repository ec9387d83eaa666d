package jwt

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
)

// When and how the keys of a set are fetched.
const (
	fetchTimeout = 5 * time.Second
	refreshAfter = time.Hour
	firstRetry   = time.Second // doubled with each failure in a row
	lastRetry    = time.Minute
	maxKeySet    = 1 << 20 // bytes

	// demandInterval is the least time between fetches that tokens ask for. Clients
	// can name keys that do not exist as often as they like.
	demandInterval = 5 * time.Second
)

// errKeysUnavailable says that keys have to be fetched and cannot be.
var errKeysUnavailable = errors.New("keys are not available")

// A KeySet is the JSON Web Key Set (RFC 7517) of a URL. It is fetched in the background:
// at once, every hour, and when a token needs a key that the set lacks, but at most every
// 5 s. If a fetch fails, the keys of the last good one stay, and the set is fetched again
// after a wait that grows from a second to a minute.
//
// Only public keys of the set are used. All methods may be called concurrently.
type KeySet struct {
	url    string
	shown  string // the URL without a password, for the log
	client *http.Client
	demand chan struct{} // has one element if a fetch is wanted
	cancel context.CancelFunc
	done   chan struct{} // closed when nothing is fetched any more

	mu      sync.Mutex
	logger  *zap.Logger
	keys    []setKey      // nil: none so far
	started int           // how many fetches have begun
	ended   int           // which of them was the last to end, from 1
	began   time.Time     // when that one began
	err     error         // of that one
	fetched chan struct{} // closed, and replaced, when a fetch has ended
}

// A setKey is a public key of a set, with what the set says of it.
type setKey struct {
	public any
	kid    string // "": none
	alg    string // "": any that fits the key
}

// CheckJWKS reports a URL that keys cannot be fetched from: it must be https, except on
// this machine.
func CheckJWKS(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is no URL; write one such as https://login.example.com/.well-known/jwks.json", text)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s must begin with https: whoever can change the keys on their way "+
			"can let anybody in", text)
	}
	return nil
}

// NewKeySet returns a set, and begins to fetch it. The caller must close the set. The
// error is that of CheckJWKS.
func NewKeySet(url string, logger *zap.Logger) (*KeySet, error) {
	if err := CheckJWKS(url); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // the next request is an hour away
	return newKeySet(url, transport, logger), nil
}

func newKeySet(url string, transport http.RoundTripper, logger *zap.Logger) *KeySet {
	ctx, cancel := context.WithCancel(context.Background())
	s := &KeySet{
		url:   url,
		shown: redacted(url),
		client: &http.Client{
			Transport: transport,
			// The keys must come from the configured URL.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		demand:  make(chan struct{}, 1),
		cancel:  cancel,
		done:    make(chan struct{}),
		logger:  logger,
		fetched: make(chan struct{}),
	}
	go s.run(ctx)
	return s
}

// redacted returns a URL with its password replaced.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

// SetLogger sets the logger: the set may outlive the configuration that made it.
func (s *KeySet) SetLogger(logger *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logger = logger
}

// Close ends fetching, and waits for that. The keys stay.
func (s *KeySet) Close() {
	s.cancel()
	<-s.done
}

// run fetches until ctx ends.
func (s *KeySet) run(ctx context.Context) {
	defer close(s.done)
	retry := firstRetry
	for {
		select {
		case <-s.demand: // The next fetch meets it.
		default:
		}
		began := s.begin()
		keys, err := s.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		s.record(began, keys, err)
		wait := refreshAfter
		if err == nil {
			retry = firstRetry
		} else {
			wait, retry = retry, min(2*retry, lastRetry)
		}
		wait -= rand.N(wait / 4) // Many servers may have started at once.
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-s.demand:
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(began.Add(demandInterval))):
			}
		}
	}
}

// begin counts a fetch.
func (s *KeySet) begin() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started++
	return time.Now()
}

// record keeps the result of a fetch.
func (s *KeySet) record(began time.Time, keys []setKey, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.logger.Warn("fetching keys failed",
			zap.String("url", s.shown), zap.Int("keys_so_far", len(s.keys)), zap.Error(err))
	case s.err != nil:
		s.logger.Info("keys are fetched again", zap.String("url", s.shown), zap.Int("keys", len(keys)))
	}
	if err == nil {
		s.keys = keys
	}
	s.ended, s.began, s.err = s.started, began, err
	close(s.fetched)
	s.fetched = make(chan struct{})
}

// fetch returns the keys that the URL has at the moment.
func (s *KeySet) fetch(ctx context.Context) ([]setKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	a, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.Body.Close() }()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer has the status %d, and redirects are not followed", a.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(a.Body, maxKeySet+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxKeySet:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxKeySet)
	}
	return parseKeySet(body)
}

// parseKeySet returns the public keys of a set that can verify signatures. It leaves out
// keys of other kinds, and those that cannot be read.
func parseKeySet(body []byte) ([]setKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, errors.New("the answer is no JSON Web Key Set")
	}
	var keys []setKey
	for _, text := range set.Keys {
		var all jwkset.JWKMarshal
		if json.Unmarshal(text, &all) != nil || all.KTY == jwkset.KtyOct {
			continue
		}
		if all.USE != "" && all.USE != jwkset.UseSig || len(all.KEYOPS) > 0 && !slices.Contains(all.KEYOPS, jwkset.KeyOpsVerify) {
			continue
		}
		// Without certificates, which would be checked, and without a private half.
		part := jwkset.JWKMarshal{KTY: all.KTY, CRV: all.CRV, X: all.X, Y: all.Y, N: all.N, E: all.E}
		key, err := jwkset.NewJWKFromMarshal(part, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipAll: true})
		if err != nil || checkKey(key.Key()) != nil {
			continue
		}
		keys = append(keys, setKey{key.Key(), all.KID, string(all.ALG)})
	}
	if len(keys) == 0 {
		return nil, errors.New("the answer has no public key that can be used")
	}
	return keys, nil
}

// choose returns the keys that may verify a token: those with its kid and algorithm. Known
// reports whether the set has a key with that kid. A token without a kid may be for any
// key that fits.
func choose(keys []setKey, kid string, method gojwt.SigningMethod) (chosen []gojwt.VerificationKey, known bool) {
	for _, key := range keys {
		if kid != "" && key.kid != kid {
			continue
		}
		known = known || kid != ""
		if fits(method, key.public) && (key.alg == "" || key.alg == method.Alg()) {
			chosen = append(chosen, key.public)
		}
	}
	return chosen, known
}

// find returns the keys that may verify a token. If there is none and wait is set, it has
// the set fetched and waits: the issuer may have a new key.
func (s *KeySet) find(ctx context.Context, kid string, method gojwt.SigningMethod, wait bool) ([]gojwt.VerificationKey, error) {
	for next := 0; ; {
		s.mu.Lock()
		keys, ended, err, fetched := s.keys, s.ended, s.err, s.fetched
		if next == 0 {
			next = s.started + 1
		}
		s.mu.Unlock()
		chosen, known := choose(keys, kid, method)
		switch {
		case kid == "" && len(chosen) > 1:
			return nil, fmt.Errorf("%w: it names no key, and %d fit", gojwt.ErrTokenUnverifiable, len(chosen))
		case len(chosen) > 0:
			return chosen, nil
		case known:
			return nil, fmt.Errorf("%w: its key is for other algorithms", gojwt.ErrTokenUnverifiable)
		case err != nil: // The fetch is repeated without this token.
			s.want()
			return nil, fmt.Errorf("%w: %w", errKeysUnavailable, err)
		case !wait || ended >= next:
			return nil, fmt.Errorf("%w: the set has no key for it", gojwt.ErrTokenUnverifiable)
		}
		if ended > 0 {
			s.want()
		}
		if err := s.wait(ctx, fetched); err != nil {
			return nil, fmt.Errorf("%w: %w", errKeysUnavailable, err)
		}
	}
}

// wait blocks until a fetch has ended.
func (s *KeySet) wait(ctx context.Context, fetched <-chan struct{}) error {
	select {
	case <-fetched:
		return nil
	case <-s.done:
		return errors.New("the set is closed")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// want asks for a fetch.
func (s *KeySet) want() {
	select {
	case s.demand <- struct{}{}:
	default:
	}
}

// renew has the set fetched for a token that none of its keys verifies, and waits. It
// reports whether the set was fetched. It is not if it has a key with the token's kid, or
// was fetched a moment ago.
func (s *KeySet) renew(ctx context.Context, kid string) bool {
	for next := 0; ; {
		s.mu.Lock()
		keys, ended, began, err, fetched := s.keys, s.ended, s.began, s.err, s.fetched
		first := next == 0
		if first {
			next = s.started + 1
		}
		s.mu.Unlock()
		switch {
		case !first && err != nil:
			return false
		case ended >= next:
			return true
		case first && kid != "" && slices.ContainsFunc(keys, func(k setKey) bool { return k.kid == kid }):
			return false
		case first && (err != nil || time.Since(began) < demandInterval):
			return false
		}
		s.want()
		if s.wait(ctx, fetched) != nil {
			return false
		}
	}
}

// fits reports whether a key is one of an algorithm.
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
	default:
		_, ok := method.(*gojwt.SigningMethodEd25519)
		return ok
	}
	return false
}
