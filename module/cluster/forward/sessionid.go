package forward

import (
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

// sessionIDs makes the ids of a node's sessions and reads those of other nodes'.
type sessionIDs struct {
	key      []byte
	hub, tag string
}

func newSessionIDs(key []byte, hub, tag string) sessionIDs {
	derived := hmac.New(sha256.New, key) // the key may be a secret that has other uses
	derived.Write([]byte("caddy-realtime session ids"))
	return sessionIDs{derived.Sum(nil), hub, tag}
}

// make returns a new id for a session of an endpoint.
func (i *sessionIDs) make(endpoint string) string {
	id := randid.New() + i.tag
	return id + i.code(id, endpoint)
}

// tagOf returns the tag in an id; false unless this node or another one has made it for the endpoint.
func (i *sessionIDs) tagOf(id, endpoint string) (tag string, ok bool) {
	if len(id) != randomSize+len(i.tag)+codeSize { // tags of all nodes are equally long
		return "", false
	}
	id, code := id[:len(id)-codeSize], id[len(id)-codeSize:]
	return id[randomSize:], hmac.Equal([]byte(code), []byte(i.code(id, endpoint)))
}

// code returns the code of an id. It is different for each hub and endpoint.
func (i *sessionIDs) code(id, endpoint string) string {
	mac := hmac.New(sha256.New, i.key)
	for _, part := range []string{i.hub, endpoint, id} {
		mac.Write([]byte{byte(len(part) >> 8), byte(len(part))})
		mac.Write([]byte(part))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))[:codeSize]
}
