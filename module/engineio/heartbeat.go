package engineio

import "github.com/caddy-realtime/caddy-realtime/module/internal/reason"

// startHeartbeat has the session's client pinged, or, in Engine.IO 3, its pings expected.
// https://socket.io/docs/v4/engine-io-protocol/#heartbeat
func (s *Session) startHeartbeat(o *Options) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.codec.clientPings {
		s.life.StartListeningLocked(o.PingInterval)
	} else {
		s.life.StartPingingLocked(o.PingInterval)
	}
}

// takes reports whether a packet of a type may come from the client: either it pings, or it
// answers pings.
func (c *codec) takes(t PacketType) bool {
	return t != Ping && t != Pong || (t == Ping) == c.clientPings
}

// pong notes the answer to a ping.
func (s *Session) pong() {
	if !s.codec.takes(Pong) {
		s.end(reason.TransportError, abandon)
		return
	}
	s.life.Pong()
}

// ping answers the ping of a client of Engine.IO 3. Others send none.
// https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v3.md#timeouts
func (s *Session) ping(data []byte, batch *Batch) {
	if !s.codec.takes(Ping) {
		s.end(reason.TransportError, abandon)
		return
	}
	s.life.Pinged()
	answer := pongGroup
	if len(data) > 0 {
		answer = NewPacketGroup(Packet{Type: Pong, Data: data})
	}
	_ = s.SendIn(batch, answer)
}
