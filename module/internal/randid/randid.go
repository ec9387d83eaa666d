// Package randid makes random ids that cannot be guessed.
package randid

import (
	"crypto/rand"
	"encoding/base64"
)

// New returns 128 random bits as 22 characters that are safe in URLs. Whoever knows a session's id
// can act as its client, so an id has no content but its randomness.
func New() string { return WithPrefix("") }

// WithPrefix returns a prefix, which has 42 bytes at most if it is not to take longer, and then
// what New returns.
func WithPrefix(prefix string) string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never returns an error
	var text [64]byte
	return string(base64.RawURLEncoding.AppendEncode(append(text[:0], prefix...), id[:]))
}
