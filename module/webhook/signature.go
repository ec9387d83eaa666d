package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Secret signs requests, by the scheme of Standard Webhooks.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
type Secret struct{ key []byte }

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
	return Secret{key}, nil
}

// String keeps the secret out of logs.
func (Secret) String() string { return secretPrefix + "…" }

func (s Secret) sign(id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// sign sets the headers that tell a request's receiver who sent it and when.
// Without secrets there is no signature.
func sign(header http.Header, secrets []Secret, id string, at time.Time, body []byte) {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", timestamp)
	if len(secrets) == 0 {
		return
	}
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		signatures[i] = secret.sign(id, timestamp, body)
	}
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
}

// ErrNotSent is among the errors of a RoundTripper when nothing of the request
// has reached the backend.
var ErrNotSent = errors.New("request was not sent")
