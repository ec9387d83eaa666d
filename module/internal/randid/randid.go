// Package randid makes random ids that cannot be guessed.
package randid

import (
	"crypto/rand"
	"encoding/base64"
)

// New returns 128 random bits as 22 characters that are safe in URLs. Whoever knows a session's id
// can act as its client, so an id has no content but its randomness.
func New() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(id[:])
}
