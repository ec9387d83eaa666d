package socketio

import (
	"encoding/json"
	"errors"

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
		return c.client.send(packet{kind: typeConnect, namespace: c.namespace})
	}
	data, err := json.Marshal(struct {
		SID string `json:"sid"`
	}{s.ID()})
	if err != nil {
		return err
	}
	return c.client.send(packet{kind: typeConnect, namespace: c.namespace, data: data})
}

// Deliver implements realtime.Conn.
func (c *conn) Deliver(m *realtime.Message, in *realtime.Batch) error {
	if m.Volatile && !c.client.session.Writable() {
		return nil
	}
	if err := c.client.session.SendIn(in, encodeMessage(c.client.format, m)); err != nil {
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
	return c.client.send(packet{kind: typeDisconnect, namespace: c.namespace})
}
