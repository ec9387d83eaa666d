package realtime

import (
	"crypto/rand"
	"encoding/base64"
	"hash/crc64"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/internal/randid"
)

// The id of a socket has 22 characters that are safe in URLs: 72 random bits, 36 bits by which every
// node knows an id from other names, and the tag of the node that made it. So a node keeps sockets out
// of the own rooms of sockets of which it has never heard.
//
// An id is no secret: clients tell one another their ids. A session's id and a PrivateID are secrets.
const (
	idRandom = 12
	idCheck  = 6
	idTag    = 4
)

// newIDTag returns the tag of a node. It is random, and says nothing of where the node is.
func newIDTag() string {
	var random [idTag * 3 / 4]byte
	_, _ = rand.Read(random[:]) // never returns an error
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// newSocketID returns the id of a new socket.
func (h *Hub) newSocketID() string {
	var random [idRandom * 3 / 4]byte
	_, _ = rand.Read(random[:]) // never returns an error
	id := make([]byte, 0, idRandom+idCheck+idTag)
	id = base64.RawURLEncoding.AppendEncode(id, random[:])
	check := idChecksum(string(id), h.idTag)
	id = append(id, check[:]...)
	return string(append(id, h.idTag...))
}

// idSecret is how many characters of a private id are a secret: 128 random bits.
const idSecret = 22

// newPrivateID returns the PrivateID of a new socket: a secret, and the tag of the node that made it.
func (h *Hub) newPrivateID() string { return randid.New() + h.idTag }

// tagOf returns the tag of a private id. It reports false for what no node makes.
func tagOf(pid string) (tag string, ok bool) {
	if len(pid) != idSecret+idTag {
		return "", false
	}
	for i := range pid {
		if strings.IndexByte(base64Alphabet, pid[i]) < 0 {
			return "", false
		}
	}
	return pid[idSecret:], true
}

// isSocketID reports whether a name is the id of a socket, on any node, now or before. Of other names
// with 22 characters, one in 69 billion is taken for an id.
func isSocketID(name string) bool {
	if len(name) != idRandom+idCheck+idTag {
		return false
	}
	check := idChecksum(name[:idRandom], name[idRandom+idCheck:])
	return name[idRandom:idRandom+idCheck] == string(check[:])
}

// idChecksum returns what an id with these parts has between them. It is no secret: somebody who makes
// up an id can join no room of that name.
func idChecksum(random, tag string) (check [idCheck]byte) {
	sum := crc64.Update(0, idTable, []byte(random))
	sum = crc64.Update(sum, idTable, []byte(tag))
	for i := range check {
		check[i] = base64Alphabet[sum>>(6*i)&63]
	}
	return check
}

var idTable = crc64.MakeTable(crc64.ECMA)

// base64Alphabet is that of base64.RawURLEncoding.
const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
