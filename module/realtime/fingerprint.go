package realtime

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
)

// A fingerprint stands for a Policy's Authentication where that must not be stored, since it holds
// secrets. Whoever reads a fingerprint can test guesses, but each guess is slow.
type fingerprint struct {
	salt, sum []byte

	mu    sync.Mutex
	known map[string]bool // results of matches: each client that recovers its socket asks for one
}

const (
	fingerprintSize   = 16
	fingerprintRounds = 300_000 // of PBKDF2 with SHA-256: about 60 ms
	maxKnown          = 16      // results
)

// newFingerprint returns the fingerprint of an Authentication.
func newFingerprint(authentication string) *fingerprint {
	f := &fingerprint{salt: make([]byte, fingerprintSize)}
	_, _ = rand.Read(f.salt) // never returns an error
	f.sum = f.of(authentication)
	return f
}

func (f *fingerprint) of(authentication string) []byte {
	sum, err := pbkdf2.Key(sha256.New, authentication, f.salt, fingerprintRounds, fingerprintSize)
	if err != nil {
		panic(err) // cannot happen: salt and size are valid
	}
	return sum
}

// matches reports whether f is the fingerprint of authentication.
func (f *fingerprint) matches(authentication string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	matches, known := f.known[authentication]
	if !known {
		matches = hmac.Equal(f.sum, f.of(authentication))
		if f.known == nil || len(f.known) >= maxKnown {
			f.known = make(map[string]bool)
		}
		f.known[authentication] = matches
	}
	return matches
}

// String returns the text that parseFingerprint reads.
func (f *fingerprint) String() string {
	return base64.RawURLEncoding.EncodeToString(f.salt) + "." + base64.RawURLEncoding.EncodeToString(f.sum)
}

func parseFingerprint(text string) (*fingerprint, error) {
	salt, sum, _ := strings.Cut(text, ".")
	f := new(fingerprint)
	var errSalt, errSum error
	f.salt, errSalt = base64.RawURLEncoding.DecodeString(salt)
	f.sum, errSum = base64.RawURLEncoding.DecodeString(sum)
	if errSalt != nil || errSum != nil || len(f.salt) != fingerprintSize || len(f.sum) != fingerprintSize {
		return nil, errors.New("invalid fingerprint")
	}
	return f, nil
}

// authenticatedBy reports whether the client was accepted by a policy with the same Authentication.
func (state *recoveryState) authenticatedBy(authentication string) bool {
	if state.fingerprint != nil {
		return state.fingerprint.matches(authentication)
	}
	return state.authentication == authentication
}
