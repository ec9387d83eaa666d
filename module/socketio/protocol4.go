package socketio

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Socket.IO 2 speaks revision 4 of the protocol over Engine.IO 3. Events and
// acks are the same as in revision 5. What is not:
//
//   - a client is in "/" without asking, or is told at once why not
//   - in another namespace it authenticates itself with a query behind the name
//   - no CONNECT says a socket's id: the client takes the session's for it, which is
//     a secret of its own. The server's side knows the socket by another, as it knows
//     all, so that whoever is told of that can do nothing with it
//   - it is told of nothing by which it could come back to a socket
//   - a refusal is the data alone, or the message where there is none
//
// https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v4.md

// client4 is a client of revision 4.
type client4 struct{ *client }

// Opened implements engineio.Opener.
func (c client4) Opened() {
	if err := c.mayEnter("/", &c.server.options().Limits); err != nil {
		c.fail("/", err)
		return
	}
	c.connect(packet{kind: typeConnect, namespace: "/"})
}

// revision4 reports whether the client speaks revision 4.
func (c *client) revision4() bool { return c.session.Revision() == 3 }

// cutQuery takes what follows "?" or "#" out of a packet's namespace, and so out
// of text. It returns what follows "?".
func cutQuery(text []byte) (rest []byte, query string) {
	namespace := bytes.IndexFunc(text, func(r rune) bool { return (r < '0' || '9' < r) && r != '-' })
	if namespace < 0 || text[namespace] != '/' {
		return text, ""
	}
	end := len(text)
	if comma := bytes.IndexByte(text[namespace:], ','); comma >= 0 {
		end = namespace + comma
	}
	begin := bytes.IndexAny(text[namespace:end], "?#")
	if begin < 0 {
		return text, ""
	}
	begin += namespace
	query, _, _ = strings.Cut(string(text[begin:end]), "#")
	return slices.Delete(text, begin, end), strings.TrimPrefix(query, "?")
}

// authOf returns a query as the object that clients of revision 5 send to
// authenticate themselves, or nil where there is none. It takes what JavaScript
// would, which is anything; of a name that comes twice, the last value.
func authOf(query string) json.RawMessage {
	auth := make(map[string]string)
	for pair := range strings.SplitSeq(query, "&") {
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			auth[unescape(name)] = unescape(value)
		}
	}
	if len(auth) == 0 {
		return nil
	}
	object, err := realtime.JSON(auth)
	if err != nil {
		panic(err) // strings
	}
	return object.JSON
}

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// refuse4 tells the client why it is not let in.
func (c *client) refuse4(namespace string, refusal *realtime.ConnectError) {
	data := refusal.Data
	if !json.Valid(data) || falsy(data) {
		data = realtime.String(refusal.Message).JSON
	}
	_ = c.send(packet{kind: typeConnectError, namespace: namespace, data: data})
}

// falsy reports whether JavaScript takes a value for none.
func falsy(data []byte) bool {
	return slices.Contains([]string{"null", "false", "0", `""`}, string(bytes.TrimSpace(data)))
}
