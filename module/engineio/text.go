package engineio

import "github.com/caddy-realtime/caddy-realtime/module/internal/wsconn"

// A Text is a text message that is about to be sent. NewText makes one, and what is appended
// to it is the message. There is room before the message for what a WebSocket puts there, so
// that it becomes a frame without being copied. It is sent once, by SendText or as a group.
type Text []byte

// textRoom is for the header of a frame and the type of a packet.
const textRoom = wsconn.MaxHeader + 1

// NewText returns an empty message with space for so many bytes.
func NewText(size int) Text { return make(Text, textRoom, textRoom+size) }

// Group returns a packet group that is only the message.
func (t Text) Group() *PacketGroup {
	g := &PacketGroup{text: t, packet: [1]Packet{{Type: Message, Data: t[textRoom:]}}}
	g.packets = g.packet[:]
	g.size = 1 + len(g.packet[0].Data)
	g.held.Size = 2 * g.size // as in NewPacketGroup
	return g
}

// frame returns the message as a WebSocket frame, which is the same in all codecs.
func (t Text) frame() []byte {
	t[textRoom-1] = byte(Message)
	return wsconn.FrameIn(t, textRoom-1, wsconn.Text)
}

// SendText is SendIn for a message that only this session gets.
func (s *Session) SendText(batch *Batch, t Text) error {
	if s.deflating.Load() != nil {
		return s.SendIn(batch, t.Group())
	}
	s.life.Lock()
	defer s.life.Unlock()
	ws, ok := s.transport.(*webSocket)
	if !ok {
		return s.sendLocked(t.Group(), batch)
	}
	if s.life.HasEndedLocked() {
		return ErrClosed
	}
	return s.sentLocked(1, ws.conn.SendIn(batch, t.frame()))
}
