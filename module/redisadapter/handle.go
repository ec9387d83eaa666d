package redisadapter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/cluster/redisbroker"
	"github.com/caddy-realtime/caddy-realtime/module/internal/msgpack"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// longestWait is how long acks are awaited for others.
const longestWait = 10 * time.Minute

// receive takes a message from the connection.
func (a *Adapter) receive(channel, message string) {
	if !a.in.add(redisbroker.ChannelMessage{Channel: channel, Bytes: []byte(message)}) {
		a.in.lose()
	}
}

// handle handles what is received, one message after the other, until the adapter is closed.
func (a *Adapter) handle() {
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-a.in.ready:
		}
		messages, lost := a.in.take(maxBatch)
		for _, m := range messages {
			a.handling.Lock()
			a.handleMessage(m.Channel, m.Bytes)
			a.handling.Unlock()
		}
		a.in.finish(len(messages))
		if lost && a.ctx.Err() == nil {
			a.hub.ReportGap("those of Socket.IO's servers were not received")
		}
	}
}

// handleMessage handles a message. Redis is not trusted.
func (a *Adapter) handleMessage(channel string, message []byte) {
	var err error
	for namespace, c := range a.channels {
		switch {
		case strings.HasPrefix(channel, c.broadcasts):
			room := strings.TrimSuffix(channel[len(c.broadcasts):], "#")
			if room == "" || a.hub.Lookup(namespace).HasMembers(room) {
				err = a.handleBroadcast(namespace, message)
			}
		case channel == c.requests:
			err = a.handleRequest(namespace, message)
		case strings.HasPrefix(channel, c.responses):
			err = a.handleResponse(message)
		}
	}
	if err != nil {
		a.refuse(channel, err)
	}
}

// handleBroadcast sends an event to the sockets of this node.
func (a *Adapter) handleBroadcast(namespace string, message []byte) error {
	if a.isOurs(broadcaster(message)) {
		return nil
	}
	b, err := parseBroadcast(message)
	if err != nil || b.namespace != namespace {
		return err
	}
	err = a.to(namespace, &b.options).Emit(a.ctx, b.event, b.args...)
	switch _, beyond := errors.AsType[*realtime.LimitError](err); {
	case beyond: // the clients of the other servers have got it
		a.hub.ReportGap("one of Socket.IO's servers exceeds this node's limits")
	case !errors.Is(err, realtime.ErrSealed):
		return err
	}
	return nil
}

// broadcaster returns the uid at the beginning of a broadcast, or "": so what is not for this node is
// not read any further.
func broadcaster(message []byte) string {
	_, rest, err := msgpack.ReadArray(message)
	if err != nil {
		return ""
	}
	uid, _, _ := msgpack.ReadString(rest)
	return string(uid)
}

// to returns a broadcast to the sockets of this node.
func (a *Adapter) to(namespace string, o *options) realtime.Broadcast {
	b := a.hub.Lookup(namespace).To(o.rooms...).Except(o.except...).Local()
	if o.volatile {
		b = b.Volatile()
	}
	return b
}

// handleRequest does what a server asks for. Everybody who is subscribed answers, or the server that
// asks waits in vain. The hub's own nodes answer one another with nothing: they ask by the bus, too.
func (a *Adapter) handleRequest(namespace string, message []byte) error {
	r, err := parseRequest(message)
	if err != nil || r.uid == a.uid {
		return err
	}
	ours := a.isOurs(r.uid)
	answer := responseJSON{ID: r.id}
	switch r.kind {
	case listSockets:
		answer.Sockets = a.socketIDs(namespace, &r)
	case listRooms:
		answer.Rooms = a.roomNames(namespace)
	case fetchSockets:
		if answer.Sockets = []socketJSON{}; !ours {
			answer.Sockets = a.describeSockets(namespace, &r)
		}
	case joinRooms, leaveRooms, disconnectSockets:
		if ours || a.change(namespace, &r) == 0 || r.id == "" {
			return nil
		}
	case serverSideEmit: // nobody handles it here
		if r.id == "" {
			return nil
		}
		answer.Kind = serverSideEmit
	case broadcastWithAck:
		if !ours {
			return a.collectAcks(namespace, &r)
		}
		answer.Kind, answer.ClientCount = clientCount, new(int)
	default:
		return nil
	}
	a.publish(a.channels[namespace].responses, encodeJSON(&answer))
	return nil
}

// selector selects the sockets that a request is about.
func selector(namespace string, o *options) realtime.Selector {
	s := realtime.Selector{Namespaces: []string{namespace}, Except: o.except}
	if len(o.rooms) > 0 {
		s.Rooms = o.rooms
	}
	return s
}

// connected returns the connected sockets of this node that a request is about.
func (a *Adapter) connected(namespace string, r *request) []*realtime.Socket {
	s := selector(namespace, &r.options)
	s.ConnectedOnly = true
	return a.hub.Find(s)
}

func (a *Adapter) socketIDs(namespace string, r *request) []string {
	ids := []string{}
	for _, s := range a.connected(namespace, r) {
		ids = append(ids, s.ID())
	}
	return ids
}

func (a *Adapter) roomNames(namespace string) []string {
	names := a.socketIDs(namespace, new(request))
	for room := range a.hub.Lookup(namespace).Rooms() {
		names = append(names, room)
	}
	return names
}

func (a *Adapter) describeSockets(namespace string, r *request) []socketJSON {
	all := []socketJSON{}
	for _, s := range a.connected(namespace, r) {
		all = append(all, describe(s))
	}
	return all
}

// describe returns a socket as Socket.IO's servers do. What the client has sent for authentication is
// left out.
func describe(s *realtime.Socket) socketJSON {
	data := s.Data()
	if data == nil {
		data = make(map[string]json.RawMessage)
	}
	if _, ok := data["_admin"]; !ok { // without it, the Admin UI of the other servers fails
		hash := sha256.Sum256([]byte(s.Session())) // the id itself is a secret
		data["_admin"] = encodeJSON(map[string]string{
			"clientId":  base64.RawURLEncoding.EncodeToString(hash[:9]),
			"transport": "websocket", // the hub does not know it
		})
	}
	peer, since := s.Peer(), s.ConnectedAt().UTC()
	return socketJSON{
		ID: s.ID(),
		Handshake: handshakeJSON{
			Headers: map[string]string{"host": peer.Host},
			Time:    since.Format("Mon Jan 02 2006 15:04:05") + " GMT+0000 (Coordinated Universal Time)",
			Address: peer.ClientIP,
			Secure:  peer.Secure,
			Issued:  since.UnixMilli(),
			Query:   map[string]string{},
		},
		Rooms: append([]string{s.ID()}, s.Rooms()...),
		Data:  data,
	}
}

// change changes sockets of this node, those whose clients are away included, and returns how many.
func (a *Adapter) change(namespace string, r *request) int {
	sockets := a.hub.Find(selector(namespace, &r.options))
	for _, s := range sockets {
		switch r.kind {
		case joinRooms:
			s.Join(r.rooms...)
		case leaveRooms:
			s.Leave(r.rooms...)
		case disconnectSockets:
			_ = s.Disconnect(r.close) // an error means that it has disconnected already
		}
	}
	return len(sockets)
}

// collectAcks sends an event to sockets of this node. It answers with how many there are, and then with
// each client's ack.
func (a *Adapter) collectAcks(namespace string, r *request) error {
	responses := a.channels[namespace].responses
	id := r.id
	begin := func(sockets int) {
		a.publish(responses, encodeJSON(&responseJSON{Kind: clientCount, ID: id, ClientCount: &sockets}))
	}
	each := func(ack realtime.Answer) { a.publish(responses, encodeAck(id, ack.Args)) }
	wait := min(max(r.timeout, time.Millisecond), longestWait)
	err := a.to(namespace, &r.options).CollectLocal(wait, begin, each, r.packet.event, r.packet.args...)
	if err != nil {
		begin(0)
	}
	if errors.Is(err, realtime.ErrSealed) {
		return nil
	}
	return err
}
