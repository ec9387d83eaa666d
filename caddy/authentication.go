package caddy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A Fingerprinter is an authenticator that lets clients in by more than its JSON
// says: keys in files, values of the environment. Fingerprint is called once it is
// provisioned, and returns that, in any form; it may be secret. A client that comes
// back with recovery is authenticated again where JSON or fingerprint of an
// authenticator has changed meanwhile.
type Fingerprinter interface {
	Fingerprint() []string
}

// authenticationOf returns a text that is another where authenticators may say
// otherwise of a client; "" where there are none. raws are what they were made of.
func authenticationOf(raws []json.RawMessage, authenticators []realtime.Authenticator) string {
	if len(authenticators) == 0 {
		return ""
	}
	hash := sha256.New()
	add := func(text []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(text))) // so that nothing runs into what follows
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
