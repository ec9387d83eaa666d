// Package randid makes ids that nobody can guess.
package randid

import (
	"crypto/rand"
	"encoding/base64"
)

// New returns 128 random bits in 22 characters, fit for URLs. Who knows a
// session's id can speak for it, so nothing else goes into one.
func New() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}
