package publish

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// MinKey is how many characters a key has at least.
const MinKey = 32

// Keys are secrets, each of which lets its owner call. They cannot be read. The zero
// value has none.
type Keys struct{ digests [][sha256.Size]byte }

// NewKeys returns the keys with these texts. The error names a key by its place
// only.
func NewKeys(texts ...string) (Keys, error) {
	if len(texts) == 0 {
		return Keys{}, errors.New("there is no key; give at least one")
	}
	var keys Keys
	for i, text := range texts {
		switch {
		case len(text) < MinKey:
			return Keys{}, fmt.Errorf("key %d has %d characters; at least %d are needed, "+
				"as of openssl rand -base64 32", i+1, len(text), MinKey)
		case !printable(text):
			return Keys{}, fmt.Errorf("key %d has characters that no header can have; "+
				"take visible ones of ASCII", i+1)
		}
		keys.digests = append(keys.digests, sha256.Sum256([]byte(text)))
	}
	return keys, nil
}

// match reports whether a request has one of the keys. The time that it takes tells
// nothing about the keys: it compares digests of one length, and all of them.
func (k Keys) match(header http.Header) bool {
	given := header.Values("Authorization")
	if len(given) != 1 {
		return false
	}
	scheme, text, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	digest := sha256.Sum256([]byte(strings.Trim(text, " ")))
	matched := 0
	for i := range k.digests {
		matched |= subtle.ConstantTimeCompare(digest[:], k.digests[i][:])
	}
	return matched == 1
}

// printable reports whether a text consists of visible characters of ASCII.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
