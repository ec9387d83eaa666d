package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// An issuer serves a set of keys, or is away.
type issuer struct {
	mu      sync.Mutex
	keys    map[string]*ecdsa.PrivateKey // by kid; those of the kid "" have none
	more    []string                     // further keys, in JSON
	status  int                          // 0: 200
	body    string                       // instead of a set
	away    bool
	fetched atomic.Int32
}

func newIssuer() *issuer { return &issuer{keys: make(map[string]*ecdsa.PrivateKey)} }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// add has the set have another key.
func (s *issuer) add(t testing.TB, kid string) *ecdsa.PrivateKey {
	t.Helper()
	key := newKey(t)
	s.change(func() { s.keys[kid] = key })
	return key
}

func (s *issuer) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// jwk returns a public key as a set has it, with more members.
func jwk(key *ecdsa.PublicKey, more string) string {
	point, err := key.Bytes()
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q%s}`, encode(point[1:33]), encode(point[33:]), more)
}

// RoundTrip implements http.RoundTripper.
func (s *issuer) RoundTrip(*http.Request) (*http.Response, error) {
	s.fetched.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, io.ErrUnexpectedEOF
	}
	w := httptest.NewRecorder()
	if s.status != 0 {
		w.Header().Set("Location", "https://elsewhere.example.com/")
		w.WriteHeader(s.status)
	}
	sets := slices.Clone(s.more)
	for _, kid := range slices.Sorted(maps.Keys(s.keys)) {
		more := ""
		if kid != "" {
			more = fmt.Sprintf(`,"kid":%q`, kid)
		}
		sets = append(sets, jwk(&s.keys[kid].PublicKey, more))
	}
	body := s.body
	if body == "" {
		body = fmt.Sprintf(`{"keys":[%s]}`, strings.Join(sets, ","))
	}
	_, _ = io.WriteString(w, body)
	return w.Result(), nil
}

// fetch returns an authenticator that has the issuer's keys.
func (s *issuer) fetch(t *testing.T) *Authenticator {
	t.Helper()
	set := newKeySet("https://issuer.example.com/jwks.json", s, zap.NewNop())
	t.Cleanup(set.Close)
	keys := new(Keys)
	keys.SetKeySet(set)
	return New(Options{Keys: keys})
}

// check has a client show a token.
func check(t *testing.T, a *Authenticator, what, token, want string) {
	t.Helper()
	if _, err := a.Authenticate(t.Context(), "/", byAuth(token)); codeOf(err) != want {
		t.Errorf("%s: %v, want %q", what, err, want)
	}
}

var es = gojwt.SigningMethodES256

func TestKeySet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		secret := base64.RawURLEncoding.EncodeToString(testSecret)
		encryption := newKey(t)
		s.more = []string{`{"kty":"oct","kid":"secret","k":"` + secret + `"}`, jwk(&encryption.PublicKey, `,"kid":"enc","use":"enc"`), `{"kty":"EC","kid":7}`, `1`, `{"kty":"RSA"}`}
		first := s.add(t, "first")
		a := s.fetch(t)
		check(t, a, "a key of the set", mint(t, es, first, "first", nil), "")
		check(t, a, "a secret that is in the set", mint(t, gojwt.SigningMethodHS256, testSecret, "secret", nil), "token_invalid")
		check(t, a, "a key for something else", mint(t, es, encryption, "enc", nil), "token_invalid")
		second := s.add(t, "second")
		check(t, a, "a new key", mint(t, es, second, "second", nil), "")
		check(t, a, "the new key by the old one's name", mint(t, es, second, "first", nil), "token_invalid")

		// Names that do not exist have the set fetched once in a while, not each time.
		began, before := time.Now(), s.fetched.Load()
		var waits sync.WaitGroup
		for i := range 500 {
			token := mint(t, es, second, strconv.Itoa(i), nil)
			waits.Go(func() { check(t, a, "a key that is not there", token, "token_invalid") })
		}
		waits.Wait()
		if n, took := s.fetched.Load()-before, time.Since(began); n != 1 || took > demandInterval {
			t.Errorf("500 unknown keys have the set fetched %d times, and wait %v", n, took)
		}
		// Without any of it, once an hour.
		before = s.fetched.Load()
		time.Sleep(24 * time.Hour)
		if n := s.fetched.Load() - before; n < 24 || n > 33 {
			t.Errorf("in a day the set is fetched %d times", n)
		}
	})
}

// TestIssuerAway: what is known stays, and nobody is told that a token is wrong
// for which there is no key yet.
func TestIssuerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := newIssuer()
		s.away = true
		first := s.add(t, "first")
		a := s.fetch(t)
		a.options.Keys.set.SetLogger(zap.New(core))
		check(t, a, "before there is any key", mint(t, es, first, "first", nil), "internal")
		s.change(func() { s.away = false })
		time.Sleep(lastRetry)
		check(t, a, "when it is back", mint(t, es, first, "first", nil), "")
		second := s.add(t, "second")
		s.change(func() { s.away = true })
		time.Sleep(3 * time.Hour)
		check(t, a, "a key that is known", mint(t, es, first, "first", nil), "")
		began := time.Now()
		check(t, a, "one that may be new", mint(t, es, second, "second", nil), "internal")
		if took := time.Since(began); took > 0 {
			t.Errorf("who cannot be let in now waits %v", took)
		}
		// It is tried all the time, and neither soon nor often.
		before := s.fetched.Load()
		time.Sleep(time.Hour)
		if n := s.fetched.Load() - before; n < 60 || n > 81 {
			t.Errorf("in an hour it is tried %d times", n)
		}
		s.change(func() { s.away = false })
		time.Sleep(lastRetry)
		check(t, a, "the new one", mint(t, es, second, "second", nil), "")
		if logs.FilterMessage("fetching keys failed").Len() == 0 || logs.FilterMessage("keys are fetched again").Len() != 2 {
			t.Errorf("the log has %d lines", logs.Len())
		}
	})
}

// TestPasswordNotLogged: a password in the URL of a set is not in the log.
func TestPasswordNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := newIssuer()
		s.away = true
		set := newKeySet("https://me:secret@issuer.example.com/jwks.json", s, zap.New(core))
		defer set.Close()
		synctest.Wait()
		s.change(func() { s.away = false })
		s.add(t, "first")
		time.Sleep(lastRetry)
		if logs.Len() != 2 {
			t.Errorf("the log has %d lines", logs.Len())
		}
		for _, line := range logs.All() {
			if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, "secret") || !strings.Contains(text, "issuer.example.com") {
				t.Errorf("the log has %s", text)
			}
		}
	})
}

// TestBadKeySets: what is no set leaves the keys that there are.
func TestBadKeySets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		first := s.add(t, "first")
		a := s.fetch(t)
		check(t, a, "a good set", mint(t, es, first, "first", nil), "")
		for what, change := range map[string]func(){
			"a redirect":      func() { s.status = http.StatusFound },
			"an error":        func() { s.status = http.StatusInternalServerError },
			"no JSON":         func() { s.body = "<html>" },
			"no keys":         func() { s.body = `{"keys":[]}` },
			"no set":          func() { s.body = `{}` },
			"too large a set": func() { s.body = `{"keys":[],"x":"` + strings.Repeat("x", maxKeySet) + `"}` },
		} {
			s.change(func() {
				s.status, s.body = 0, ""
				change()
			})
			before := s.fetched.Load()
			time.Sleep(refreshAfter)
			if s.fetched.Load() == before {
				t.Errorf("%s is not fetched", what)
			}
			check(t, a, what, mint(t, es, first, "first", nil), "")
			check(t, a, what+", at the start", mint(t, es, first, "first", nil), "")
			other := s.fetch(t)
			check(t, other, what+", at the start", mint(t, es, first, "first", nil), "internal")
			other.options.Keys.set.Close()
		}
	})
}

// TestTokensWithoutKid: a token that names no key is for the one that fits.
func TestTokensWithoutKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public, edKey, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		encode := base64.RawURLEncoding.EncodeToString
		s := newIssuer()
		encryption := newKey(t)
		s.more = []string{
			`{"kty":"RSA","kid":"r","alg":"RS256","e":"AQAB","n":"` + encode(rsaKey.N.Bytes()) + `"}`,
			`{"kty":"OKP","crv":"Ed25519","kid":"e","x":"` + encode(public) + `"}`,
			jwk(&encryption.PublicKey, `,"use":"enc"`),
		}
		key := s.add(t, "")
		a := s.fetch(t)
		check(t, a, "the one of the curve", mint(t, es, key, "", nil), "")
		check(t, a, "the one of RSA", mint(t, gojwt.SigningMethodRS256, rsaKey, "", nil), "")
		check(t, a, "the one of RSA by its name", mint(t, gojwt.SigningMethodRS256, rsaKey, "r", nil), "")
		check(t, a, "Ed25519", mint(t, gojwt.SigningMethodEdDSA, edKey, "", nil), "")
		check(t, a, "an algorithm that the set does not have", mint(t, gojwt.SigningMethodPS256, rsaKey, "r", nil), "token_invalid")
		check(t, a, "the same without a name", mint(t, gojwt.SigningMethodPS256, rsaKey, "", nil), "token_invalid")
		check(t, a, "a name that no key has", mint(t, es, key, "other", nil), "token_invalid")

		// The issuer exchanges its key.
		time.Sleep(demandInterval)
		next := s.add(t, "")
		check(t, a, "a new one without a name", mint(t, es, next, "", nil), "")
		before := s.fetched.Load()
		check(t, a, "the old one", mint(t, es, key, "", nil), "token_invalid")
		if n := s.fetched.Load() - before; n != 0 {
			t.Errorf("a signature that is wrong has a new set fetched again")
		}

		// It could be for either.
		time.Sleep(demandInterval)
		other := s.add(t, "other")
		check(t, a, "the second by its name", mint(t, es, other, "other", nil), "")
		check(t, a, "one of two", mint(t, es, next, "", nil), "token_invalid")
	})
}

// TestKeySetBesideKeys: the keys of the configuration do not wait for the set.
func TestKeySetBesideKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIssuer()
		s.away = true
		mine, its := newKey(t), s.add(t, "first")
		a := s.fetch(t)
		if err := a.options.Keys.AddPEM(toPEM(t, &mine.PublicKey)); err != nil {
			t.Fatal(err)
		}
		check(t, a, "a key of the configuration", mint(t, es, mine, "mine", nil), "")
		s.change(func() { s.away = false })
		time.Sleep(lastRetry)
		check(t, a, "one of the set", mint(t, es, its, "first", nil), "")
		next := s.add(t, "next")
		time.Sleep(demandInterval)
		check(t, a, "a new one of the set", mint(t, es, next, "next", nil), "")
	})
}

func TestCheckJWKS(t *testing.T) {
	for _, url := range []string{"", "x", "ftp://localhost/", "http://example.com/jwks", "https://"} {
		if set, err := NewKeySet(url, zap.NewNop()); err == nil {
			set.Close()
			t.Errorf("keys are fetched from %q", url)
		}
	}
}

// TestNewKeySet fetches over a network.
func TestNewKeySet(t *testing.T) {
	s := newIssuer()
	key := s.add(t, "first")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, err := s.RoundTrip(r)
		if err == nil {
			_, _ = io.Copy(w, a.Body)
		}
	}))
	defer server.Close()
	set, err := NewKeySet(server.URL+"/jwks.json", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	keys := new(Keys)
	keys.SetKeySet(set)
	check(t, New(Options{Keys: keys}), "a key of the set", mint(t, es, key, "first", nil), "")
}

func FuzzParseKeySet(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"keys":[` + jwk(&key.PublicKey, `,"kid":"a","alg":"ES256","use":"sig","key_ops":["verify"]`) + `,{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","x":""}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseKeySet(body)
		if err == nil && len(keys) == 0 {
			t.Error("neither keys nor an error")
		}
		for _, key := range keys {
			if err := checkKey(key.public); err != nil {
				t.Error(err)
			}
		}
	})
}
