package caddy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A Fingerprinter is an authenticator whose decisions depend on more than its JSON, such
// as keys in files or values of the environment. Fingerprint returns these in any form. It
// is called after Provision, and the result may be secret. A client that recovers its
// socket is authenticated again if the JSON or the fingerprint of any authenticator has
// changed meanwhile.
type Fingerprinter interface {
	Fingerprint() []string
}

// authenticationOf returns a text that differs whenever authenticators could decide
// differently; "" if there are none. raws are their JSON. See realtime.Policy.
func authenticationOf(raws []json.RawMessage, authenticators []realtime.Authenticator) string {
	if len(authenticators) == 0 {
		return ""
	}
	hash := sha256.New()
	add := func(text []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text))) // so that two texts are never mistaken for another two
		hash.Write(size[:])
		hash.Write(text)
	}
	for i, authenticator := range authenticators {
		add(raws[i])
		if f, ok := authenticator.(Fingerprinter); ok {
			texts := f.Fingerprint()
			add(binary.AppendUvarint(nil, uint64(len(texts))))
			for _, text := range texts {
				add([]byte(text))
			}
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}
