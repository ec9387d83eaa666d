// Command nbio serves WebSockets with nbio, which reads all connections by epoll in a few
// goroutines and holds no goroutine for each. It sends no heartbeats.
package main

import (
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/listener"
	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/packet"
	"github.com/caddy-realtime/caddy-realtime/bench/peers/internal/room"
)

var members room.Room[*websocket.Conn]

// send leaves out errors: OnClose hears of a broken connection.
func send(c *websocket.Conn, data []byte) { _ = c.WriteMessage(websocket.TextMessage, data) }

// answer does what a packet asks for.
func answer(c *websocket.Conn, _ websocket.MessageType, data []byte) {
	switch kind, id := packet.Parse(data); kind {
	case packet.Connect:
		send(c, []byte(packet.Connected))
	case packet.Join:
		members.Join(c)
		send(c, packet.AppendAck(nil, id))
	case packet.AckedEvent:
		send(c, packet.AppendAck(nil, id))
	case packet.Event:
		members.Others(c, func(member *websocket.Conn) { send(member, data) })
	case packet.Other:
	}
}

func main() {
	logging.SetLevel(logging.LevelError)
	upgrader := websocket.NewUpgrader()
	upgrader.KeepaliveTime = 0 // a timer for each connection, otherwise
	upgrader.CheckOrigin = func(*http.Request) bool { return true }
	upgrader.OnOpen(func(c *websocket.Conn) { send(c, []byte(packet.Open)) })
	upgrader.OnMessage(answer)
	upgrader.OnClose(func(c *websocket.Conn, _ error) { members.Leave(c) })

	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                 "tcp4",
		Addrs:                   []string{listener.Address()},
		ReleaseWebsocketPayload: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = upgrader.Upgrade(w, r, nil) // it answers what it refuses
		}),
	})
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
}
