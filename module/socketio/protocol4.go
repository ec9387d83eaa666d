package socketio

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// Clients of Socket.IO 2 speak revision 4 of the protocol over Engine.IO 3. Events and acks are the
// same as in revision 5. These are the differences:
//
//   - A client enters "/" without a CONNECT of its own, or learns at once why it may not.
//   - For other namespaces, it authenticates itself with a query after the name.
//   - The server's CONNECT has no id of the socket. The client uses the id of the session, which is
//     a secret of the client. On the server's side, the socket has an id of its own, so nobody
//     learns the session's.
//   - A client cannot come back to its socket.
//   - A CONNECT_ERROR has only the data of a refusal, or its message if there is no data.
//
// https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v4.md

// A client4 is a client of revision 4.
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

// cutQuery removes what follows "?" or "#" in a packet's namespace from text, which it modifies. It
// returns the query, which is what follows "?".
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

// authOf returns a query as the auth object that clients of revision 5 send, or nil if the query is
// empty. Like JavaScript, it accepts any text. Of several values of a name, it takes the last.
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

// refuse4 is refuse for a client of revision 4.
func (c *client) refuse4(namespace string, refusal *realtime.ConnectError) {
	data := refusal.Data
	if !json.Valid(data) || falsy(data) {
		data = realtime.String(refusal.Message).JSON
	}
	_ = c.send(packet{kind: typeConnectError, namespace: namespace, data: data})
}

// falsy reports whether a value is falsy in JavaScript.
func falsy(data []byte) bool {
	return slices.Contains([]string{"null", "false", "0", `""`}, string(bytes.TrimSpace(data)))
}
