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

// fingerprints keep what takes long to make and to compare. The zero value is empty.
type fingerprints struct {
	mu   sync.Mutex
	made map[string]*fingerprint // by their Authentication
	read map[string]*fingerprint // by their text
}

// maxFingerprints is how many of each kind are kept.
const maxFingerprints = 64

// get returns the fingerprint of an Authentication; nil if that is "".
func (f *fingerprints) get(authentication string) *fingerprint {
	if authentication == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	one := f.made[authentication]
	if one == nil {
		one = newFingerprint(authentication)
		f.made = addFingerprint(f.made, authentication, one)
	}
	return one
}

// of returns the text of the fingerprint of what has accepted a client; "" if there is none.
func (f *fingerprints) of(state *recoveryState) string {
	switch {
	case state.fingerprint != nil:
		return state.fingerprint.String()
	case state.authentication != "":
		return f.get(state.authentication).String()
	}
	return ""
}

// parse returns the fingerprint that a text says.
func (f *fingerprints) parse(text string) (*fingerprint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one := f.read[text]; one != nil {
		return one, nil
	}
	one, err := parseFingerprint(text)
	if err == nil {
		f.read = addFingerprint(f.read, text, one)
	}
	return one, err
}

func addFingerprint(to map[string]*fingerprint, key string, one *fingerprint) map[string]*fingerprint {
	if to == nil || len(to) >= maxFingerprints {
		to = make(map[string]*fingerprint)
	}
	to[key] = one
	return to
}

// authenticatedBy reports whether the client was accepted by a policy with the same Authentication.
func (state *recoveryState) authenticatedBy(authentication string) bool {
	if state.fingerprint != nil {
		return state.fingerprint.matches(authentication)
	}
	return state.authentication == authentication
}
