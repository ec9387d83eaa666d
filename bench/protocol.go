//go:build linux

package main

import (
	"fmt"
)

// protocol is how clients speak with a peer over WebSocket.
type protocol struct {
	path string
	// greeting is what happens before a client counts as connected.
	greeting []exchange
	// The server's heartbeat, and what the client answers.
	heartbeat, heartbeatAnswer string
	// lines says that a frame may have several packets, one a line.
	lines bool

	// join puts a client into the room.
	join exchange
	// senderJoins says that only members may send to the room. They do not get what they send.
	senderJoins bool
	// event returns what a client sends to the room, and what members then get.
	event func(text string) (sent, delivered []byte)
	// published begins the packet that a sender gets for an event; empty if it gets none.
	published string
	// appendCall and appendAnswer write an acked event and the ack that belongs to it. Ids
	// count from 0.
	appendCall   func(out []byte, id int, text string) []byte
	appendAnswer func(out []byte, id int) []byte
}

// exchange is a packet that a client sends, if there is one, and the beginning of what it gets.
type exchange struct{ send, expect string }

// socketIO is Socket.IO 5 over Engine.IO 4.
var socketIO = &protocol{
	path:            "/socket.io/?EIO=4&transport=websocket",
	greeting:        []exchange{{"", "0{"}, {"40", "40{"}},
	heartbeat:       "2",
	heartbeatAnswer: "3",
	join:            exchange{`420["join","bench"]`, "430["},
	senderJoins:     true,
	event: func(text string) (sent, delivered []byte) {
		packet := fmt.Appendf(nil, `42["message","%s"]`, text)
		return packet, packet
	},
	appendCall: func(out []byte, id int, text string) []byte {
		return fmt.Appendf(out, `42%d["message","%s"]`, id, text)
	},
	appendAnswer: func(out []byte, id int) []byte { return fmt.Appendf(out, "43%d[]", id) },
}

// centrifugeJSON is the bidirectional protocol of centrifuge, in JSON. Its calls are RPC.
var centrifugeJSON = &protocol{
	path:            "/connection/websocket",
	greeting:        []exchange{{`{"id":1,"connect":{}}`, `{"id":1,"connect":{`}},
	heartbeat:       "{}",
	heartbeatAnswer: "{}",
	lines:           true,
	join:            exchange{`{"id":2,"subscribe":{"channel":"bench"}}`, `{"id":2,"subscribe":{`},
	event: func(text string) (sent, delivered []byte) {
		return fmt.Appendf(nil, `{"id":3,"publish":{"channel":"bench","data":"%s"}}`, text),
			fmt.Appendf(nil, `{"push":{"channel":"bench","pub":{"data":"%s"}}}`, text)
	},
	published: `{"id":3,"publish":{`,
	appendCall: func(out []byte, id int, text string) []byte {
		return fmt.Appendf(out, `{"id":%d,"rpc":{"method":"message","data":"%s"}}`, id+firstCall, text)
	},
	appendAnswer: func(out []byte, id int) []byte {
		return fmt.Appendf(out, `{"id":%d,"rpc":{"data":[]}}`, id+firstCall)
	},
}

// firstCall is the id of a client's first RPC: those below are taken by other commands.
const firstCall = 4
