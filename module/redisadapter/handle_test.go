package redisadapter

import (
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/redisserver"
)

// What is for a room of which no socket is here is not even read.
func TestRoomsOfOthers(t *testing.T) {
	server := redisserver.New(t)
	m := newMember(t, server, "a")
	c := m.connect("r")
	for _, room := range []string{"r", c.socket.ID(), "other"} {
		m.adapter.handleMessage("socket.io#/#"+room+"#", []byte("x"))
	}
	if got := m.adapter.Stats().Invalid; got != 2 {
		t.Errorf("%d messages are read, want 2", got)
	}
	m.adapter.handleMessage("socket.io#/#r#", []byte(`["x",{"type":2,"data":["e"]},{"rooms":["r"]}]`))
	c.want(t, "e")
	if n := m.hub.Lookup("/none"); n.HasMembers("r") || !m.hub.Lookup("/").HasMembers("r") {
		t.Error("members are found where there are none, or none where there are some")
	}
}
