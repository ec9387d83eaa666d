package redisadapter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// errLost means that a message was dropped.
var errLost = errors.New("too much waits for Redis")

// Broadcast implements [realtime.Bridge].
func (a *Adapter) Broadcast(m *realtime.Message, rooms, except []string) (queue func() error) {
	o := options{rooms: rooms, except: except, volatile: m.Volatile}
	c := a.channels[m.Namespace]
	message := encodeBroadcast(a.uid, m, &o)
	return func() error {
		if !a.publish(c.broadcastsTo(rooms), message) && !m.Volatile {
			return errLost
		}
		return nil
	}
}

// Sockets implements [realtime.Bridge].
func (a *Adapter) Sockets(ctx context.Context, namespace string, rooms, except []string) (sockets []realtime.SocketInfo, complete bool) {
	r := request{uid: a.uid, kind: fetchSockets, options: options{rooms: rooms, except: except}}
	answered := a.ask(ctx, namespace, fetchSockets, func(id string) []byte {
		r.id = id
		return r.encode()
	})
	if answered == nil {
		return nil, false
	}
	for i := range answered.sockets {
		sockets = append(sockets, a.info(namespace, &answered.sockets[i]))
	}
	return sockets, answered.complete
}

// info returns a socket as the hub knows it.
func (a *Adapter) info(namespace string, s *socket) realtime.SocketInfo {
	rooms := slices.DeleteFunc(s.rooms, func(room string) bool { return room == s.id })
	slices.Sort(rooms)
	info := realtime.SocketInfo{
		ID:          s.id,
		Node:        a.Name(),
		Namespace:   namespace,
		Rooms:       append([]string{}, slices.Compact(rooms)...),
		Data:        s.data,
		ConnectedAt: time.UnixMilli(s.issued).UTC(),
	}
	if info.Data == nil {
		info.Data = map[string]json.RawMessage{}
	}
	return info
}

// Change implements [realtime.Bridge].
func (a *Adapter) Change(namespace string, rooms, except []string, c realtime.BridgedChange) error {
	r := request{uid: a.uid, options: options{rooms: rooms, except: except}, close: c.Close}
	ok := true
	do := func(k kind, these []string) {
		r.kind, r.rooms = k, these
		ok = a.publish(a.channels[namespace].requests, r.encode()) && ok
	}
	if len(c.Leave) > 0 {
		do(leaveRooms, c.Leave)
	}
	if len(c.Join) > 0 {
		do(joinRooms, c.Join)
	}
	if c.Disconnect {
		do(disconnectSockets, nil)
	}
	if !ok {
		return errLost
	}
	return nil
}

// Request implements [realtime.Bridge].
func (a *Adapter) Request(ctx context.Context, m *realtime.Message, rooms, except []string) (answers []realtime.Answer, complete bool) {
	o := options{rooms: rooms, except: except, volatile: m.Volatile, timeout: max(timeLeft(ctx), time.Millisecond)}
	answered := a.ask(ctx, m.Namespace, broadcastWithAck, func(id string) []byte {
		return encodeBroadcastWithAck(a.uid, id, m, &o)
	})
	if answered == nil {
		return nil, false
	}
	return answered.answers, answered.complete
}
