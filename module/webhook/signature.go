package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Secret signs requests, by the scheme of Standard Webhooks.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type Secret struct {
	macs *sync.Pool // of hash.Hash, which are costly to make
}

func newSecret(key []byte) Secret {
	return Secret{&sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

const secretPrefix = "whsec_"

// The sizes that the specification allows for a key, in bytes.
const (
	minKey = 24
	maxKey = 64
)

var errSecret = fmt.Errorf("a secret is %s and then %d to %d bytes in base64, such as what this prints: echo %s$(openssl rand -base64 32)",
	secretPrefix, minKey, maxKey, secretPrefix)

// ParseSecret reads a secret. The error says what one looks like, and nothing
// of the text.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return Secret{}, errSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < minKey || len(key) > maxKey {
		return Secret{}, errSecret
	}
	return newSecret(key), nil
}

// String keeps the secret out of logs.
func (Secret) String() string { return secretPrefix + "…" }

// appendSignature appends a signature.
func (s Secret) appendSignature(text []byte, id, timestamp string, body []byte) []byte {
	mac := s.macs.Get().(hash.Hash)
	defer s.macs.Put(mac)
	mac.Reset()
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	var sum [sha256.Size]byte
	return base64.StdEncoding.AppendEncode(append(text, "v1,"...), mac.Sum(sum[:0]))
}

// sign sets the headers that tell a request's receiver who sent it and when.
// Without secrets there is no signature.
func sign(set func(name, value string), secrets []Secret, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	set("Webhook-Id", id)
	set("Webhook-Timestamp", timestamp)
	if len(secrets) == 0 {
		return
	}
	text := make([]byte, 0, 48*len(secrets)) // a signature has 47 bytes
	for i, secret := range secrets {
		if i > 0 {
			text = append(text, ' ')
		}
		text = secret.appendSignature(text, id, timestamp, body)
	}
	set("Webhook-Signature", string(text))
}

// ErrNotSent is among the errors of a RoundTripper when nothing of the request
// has reached the backend.
var ErrNotSent = errors.New("request was not sent")
