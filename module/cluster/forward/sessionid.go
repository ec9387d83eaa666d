package forward

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// The id of a session is random, as everywhere, and has behind that the tag of its owner and a code: a
// part of an HMAC-SHA256 under the cluster's key. So a node knows at once which ids are not worth a
// message to another node. Who guesses codes needs 2^71 requests on average.
const (
	codeSize   = 12 // characters
	randomSize = 22
)

// keys are those of the codes.
type keys struct {
	current []byte // for new ids; nil: there is none
	former  []byte // of ids that were made before; nil: there is none
}

// next returns the keys after the secret has changed.
func (k *keys) next(secret []byte) *keys {
	if len(secret) == 0 {
		return &keys{former: k.current}
	}
	derived := hmac.New(sha256.New, secret) // which may have other uses
	derived.Write([]byte("caddy-realtime session ids"))
	current := derived.Sum(nil)
	if bytes.Equal(current, k.current) {
		return k
	}
	return &keys{current, k.current}
}

// sessionIDs makes the ids of a node's sessions and reads those of other nodes'.
type sessionIDs struct{ hub, tag string }

// make returns a new id for a session of an endpoint.
func (i *sessionIDs) make(key []byte, endpoint string) string {
	id := randid.New() + i.tag
	return id + i.code(key, id, endpoint)
}

// tagOf returns the tag in an id; false unless a node has made it for the endpoint, with one of the keys.
func (i *sessionIDs) tagOf(k *keys, id, endpoint string) (tag string, ok bool) {
	if len(id) != randomSize+len(i.tag)+codeSize { // tags of all nodes are equally long
		return "", false
	}
	id, code := id[:len(id)-codeSize], id[len(id)-codeSize:]
	for _, key := range [][]byte{k.current, k.former} {
		if key != nil && hmac.Equal([]byte(code), []byte(i.code(key, id, endpoint))) {
			return id[randomSize:], true
		}
	}
	return "", false
}

// code returns the code of an id. It is different for each hub and endpoint.
func (i *sessionIDs) code(key []byte, id, endpoint string) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range []string{i.hub, endpoint, id} {
		mac.Write([]byte{byte(len(part) >> 8), byte(len(part))})
		mac.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))[:codeSize]
}
