package wsconn

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/gorilla/websocket"
)

// Requested reports whether a request asks for a WebSocket, over any version
// of HTTP: by GET and an Upgrade header (RFC 6455, section 4.2.1), or as
// IsTunnel has it.
func Requested(r *http.Request) bool { return IsTunnel(r) || websocket.IsWebSocketUpgrade(r) }

// IsTunnel reports whether a request asks for its HTTP/2 or HTTP/3 stream to
// become a WebSocket: by CONNECT and the pseudo-header :protocol (RFC 8441,
// section 4; RFC 9220). net/http keeps that among the headers, where no client
// can put a name like that by itself, and quic-go in place of the version.
func IsTunnel(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	switch r.ProtoMajor {
	case 2:
		return r.Header.Get(":protocol") == "websocket"
	case 3:
		return r.Proto == "websocket"
	}
	return false
}

// checkLength refuses a request with a body. A stream, which has no other end
// than its own, has one of unknown length.
func checkLength(r *http.Request) error {
	switch {
	case IsTunnel(r) && r.ContentLength >= 0:
		return errors.New("a stream that becomes a WebSocket stays open and has no content length")
	case !IsTunnel(r) && r.ContentLength != 0:
		return errors.New("an upgrade request has no body")
	}
	return nil
}

// asUpgrade returns the request of HTTP/1.1 that asks for what r does, which
// does not change.
func asUpgrade(r *http.Request) *http.Request {
	var key [16]byte // proves nothing here: streams have no use for it
	rand.Read(key[:])
	upgrade := *r
	upgrade.Method = http.MethodGet
	upgrade.Header = r.Header.Clone()
	upgrade.Header.Del(":protocol")
	upgrade.Header.Set("Connection", "Upgrade")
	upgrade.Header.Set("Upgrade", "websocket")
	upgrade.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	return &upgrade
}
