// Command gorilla is the least that a server with gorilla/websocket and net/http holds and does:
// one goroutine for each connection, a small read buffer, write buffers from a pool, and frames of
// broadcasts that are encoded once. It sends no heartbeats, and has no queues: a client that does
// not read holds up the rest.
package main

import (
	"log"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/listener"
	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/packet"
	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/room"
)

var upgrader = websocket.Upgrader{
	ReadBufferSize:  256,
	WriteBufferPool: &sync.Pool{},
	CheckOrigin:     func(*http.Request) bool { return true },
}

var members room.Room[*client]

type client struct {
	*websocket.Conn
	writing sync.Mutex
}

func (c *client) send(data []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.WriteMessage(websocket.TextMessage, data)
}

func (c *client) sendPrepared(message *websocket.PreparedMessage) {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.WritePreparedMessage(message) // a broken connection ends in its read
}

// answer does what a packet asks for.
func (c *client) answer(data []byte) error {
	switch kind, id := packet.Parse(data); kind {
	case packet.Connect:
		return c.send([]byte(packet.Connected))
	case packet.Join:
		members.Join(c)
		return c.send(packet.AppendAck(nil, id))
	case packet.AckedEvent:
		return c.send(packet.AppendAck(nil, id))
	case packet.Event:
		message, err := websocket.NewPreparedMessage(websocket.TextMessage, data)
		if err != nil {
			return err
		}
		members.Others(c, func(member *client) { member.sendPrepared(message) })
	case packet.Other:
	}
	return nil
}

// serve upgrades a request and starts the connection's goroutine. That of net/http ends, with its
// larger stack and what it keeps of the request.
func serve(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	go read(&client{Conn: conn})
}

func read(c *client) {
	defer c.Close()
	defer members.Leave(c)
	if c.send([]byte(packet.Open)) != nil {
		return
	}
	for {
		_, data, err := c.ReadMessage()
		if err != nil || c.answer(data) != nil {
			return
		}
	}
}

func main() {
	http.HandleFunc("/socket.io/", serve)
	log.Fatal(http.Serve(listener.Open(), nil))
}
