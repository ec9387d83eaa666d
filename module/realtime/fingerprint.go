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

// A fingerprint stands for a Policy's Authentication where that must not be
// written, since there are secrets in it. Who reads a fingerprint can find out
// whether what he guesses is right, but takes a while for each guess.
type fingerprint struct {
	salt, sum []byte

	mu    sync.Mutex
	known map[string]bool // whether they match; a policy's is asked about by each client that comes back
}

const (
	fingerprintSize   = 16
	fingerprintRounds = 300_000 // of PBKDF2 with SHA-256: about 60 ms
	maxKnown          = 16      // policies
)

// newFingerprint returns that of an Authentication.
func newFingerprint(authentication string) *fingerprint {
	f := &fingerprint{salt: make([]byte, fingerprintSize)}
	_, _ = rand.Read(f.salt) // never fails
	f.sum = f.of(authentication)
	return f
}

func (f *fingerprint) of(authentication string) []byte {
	sum, err := pbkdf2.Key(sha256.New, authentication, f.salt, fingerprintRounds, fingerprintSize)
	if err != nil {
		panic(err) // it has a salt, and a size that is allowed
	}
	return sum
}

// matches reports whether the fingerprint is that of an Authentication.
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

// String returns what parseFingerprint reads.
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
		return nil, errors.New("it has no fingerprint")
	}
	return f, nil
}

// authenticatedBy reports whether a client was let in as one would be by a policy
// with an Authentication.
func (t *trail) authenticatedBy(authentication string) bool {
	if t.fingerprint != nil {
		return t.fingerprint.matches(authentication)
	}
	return t.authentication == authentication
}
