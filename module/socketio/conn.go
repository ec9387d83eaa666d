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
	if c.client.revision4() {
		return c.client.session.Send(encodePacket(typeConnect, c.namespace, nil))
	}
	data, err := json.Marshal(struct {
		SID string `json:"sid"`
	}{s.ID()})
	if err != nil {
		return err
	}
	return c.client.session.Send(encodePacket(typeConnect, c.namespace, data))
}

// Deliver implements realtime.Conn.
func (c *conn) Deliver(m *realtime.Message, in *realtime.Batch) error {
	if m.Volatile && !c.client.session.Writable() {
		return nil
	}
	burst := m.Encoding(format{}, encodeMessage).(*engineio.Burst)
	if err := c.client.session.SendIn(in, burst); err != nil {
		return errors.Join(realtime.ErrDisconnected, err)
	}
	return nil
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
