package socketio

import (
	"encoding/json"
	"errors"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A conn is a socket's way to its client: one namespace on a session.
type conn struct {
	client    *client
	namespace string
	socket    *realtime.Socket // set by Connected, before anything else is called
}

// Connected implements realtime.Conn.
func (c *conn) Connected(s *realtime.Socket) error {
	c.socket = s
	answer, err := c.answer()
	if err != nil {
		return err
	}
	return c.client.session.Send(answer)
}

// Recovered implements realtime.RecoverableConn.
func (c *conn) Recovered(s *realtime.Socket, missed []*realtime.Message) error {
	c.socket = s
	answer, err := c.answer()
	if err != nil {
		return err
	}
	bursts := make([]*engineio.Burst, 0, len(missed)+1)
	for _, m := range missed {
		bursts = append(bursts, c.burst(m))
	}
	err = c.client.session.SendAll(append(bursts, answer))
	if errors.Is(err, engineio.ErrBacklog) {
		return realtime.ErrBacklog
	}
	return err
}

// answer returns the packet that tells the client that it is in.
func (c *conn) answer() (*engineio.Burst, error) {
	data, err := json.Marshal(struct {
		SID string `json:"sid"`
		PID string `json:"pid,omitempty"`
	}{c.socket.ID(), c.socket.PrivateID()})
	if err != nil {
		return nil, err
	}
	return encodePacket(typeConnect, c.namespace, data), nil
}

// Deliver implements realtime.Conn.
func (c *conn) Deliver(m *realtime.Message, in *realtime.Batch) error {
	if m.Volatile && !c.client.session.Writable() {
		return nil
	}
	if err := c.client.session.SendIn(in, c.burst(m)); err != nil {
		return errors.Join(realtime.ErrDisconnected, err)
	}
	return nil
}

// burst returns a message as all recipients of the same format get it.
func (c *conn) burst(m *realtime.Message) *engineio.Burst {
	return m.Encoding(format{}, encodeMessage).(*engineio.Burst)
}

// Leave implements realtime.Conn.
func (c *conn) Leave(closing bool) error {
	if closing {
		c.client.leaveAll()
		return nil
	}
	c.client.remove(c)
	return c.client.session.Send(encodePacket(typeDisconnect, c.namespace, nil))
}

// Interface guards
var _ realtime.RecoverableConn = (*conn)(nil)
