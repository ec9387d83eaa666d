package plainws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/connection"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// TestJSON is a conversation in the JSON format.
func TestJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(answers), quiet)
		a, id := f.join(t)
		b, _ := f.join(t)
		synctest.Wait()
		socket, ok := f.namespace().Socket(id)
		if !ok {
			t.Fatal("the client is not told its socket's id")
		}
		socket.Join("room")
		say := func(text, want string) {
			t.Helper()
			write(t, a, text)
			if got := read(a); got != want {
				t.Errorf("%s is answered by %s, want %s", text, got, want)
			}
		}
		say(`{"event":"e","args":[1, {"a":[ ]}],"id":7}`, `{"ack":7,"args":[1,{"a":[ ]}]}`)
		say(`{"event":"e","id":0}`, `{"ack":0,"args":[]}`)
		say(`{"event":"e","args":["x",{"$binary":"AAEC"}]}`, `{"event":"e-back","args":["x",{"$binary":"AAEC"}]}`)

		// The client learns what is wrong with a frame, and stays connected.
		say(`{}`, `{"event":"error","args":[{"code":"bad_frame","message":"a frame has either \"event\" or \"ack\""}]}`)
		say(`{"event":"connect"}`, `{"event":"error","args":[{"code":"bad_frame","message":"the event name \"connect\" is reserved"}]}`)
		say(`{"event":"e","args":[{"$binary":"?"}],"id":1}`, `{"event":"error","args":[{"code":"bad_frame","message":"decoding $binary: illegal base64 data at input byte 0"}]}`)

		// Broadcasts, and requests both ways.
		if err := f.namespace().To("room").Emit(t.Context(), "news", realtime.String("<hello>")); err != nil {
			t.Error(err)
		}
		if got := read(a); got != `{"event":"news","args":["<hello>"]}` {
			t.Error(got)
		}
		answer := make(chan string)
		go func() {
			args, err := socket.Request(t.Context(), "question", realtime.Bytes([]byte("?")))
			answer <- fmt.Sprintf("%s %v", args[0].JSON, err)
		}()
		question := read(a)
		if question != `{"event":"question","args":[{"$binary":"Pw=="}],"id":1}` {
			t.Error(question)
		}
		write(t, a, `{"ack":99,"args":["nobody asked"]}`, `{"ack":1,"args":[{"ok":true}]}`)
		if got := <-answer; got != `{"ok":true} <nil>` {
			t.Error(got)
		}

		// Goodbye.
		if err := a.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, "")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if sockets, rooms := f.hub.Stats(); sockets != 1 || rooms != 0 || f.Len() != 1 {
			t.Errorf("%d sockets, %d rooms, %d connections", sockets, rooms, f.Len())
		}
		line := f.log.FilterMessage("disconnected").All()[0].ContextMap()
		if line["reason"] != "transport close" || line["received"] != uint32(8) || line["transport"] != "websocket" {
			t.Errorf("logged %v", line)
		}
		if err := socket.Emit(t.Context(), "late"); !errors.Is(err, realtime.ErrDisconnected) {
			t.Error("sending to a client that has gone:", err)
		}
		write(t, b, `{"event":"e","id":1}`)
		if got := read(b); got != `{"ack":1,"args":[]}` {
			t.Error("the other client got", got)
		}
	})
}

func TestRawFormat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		f := start(t, Raw, handled(guest{event: func(ctx context.Context, e *realtime.Event) (bool, error) {
			names = append(names, e.Name)
			if e.Ack != nil {
				t.Error("an answer is awaited")
			}
			return true, e.Socket.To().Emit(ctx, e.Name, e.Args...)
		}}), quiet)
		a, b := f.connect(t), f.connect(t)
		synctest.Wait()
		for _, text := range []string{"hello", "", `{"event":"other"}`, "ü \x00"} {
			write(t, a, text)
			if got := read(b); got != text {
				t.Errorf("%q arrived as %q", text, got)
			}
		}
		if err := a.WriteMessage(websocket.BinaryMessage, []byte("\x00\xff")); err != nil {
			t.Error(err)
		}
		if got := read(b); got != "binary \x00\xff" {
			t.Error(got)
		}
		if err := f.namespace().To().Emit(t.Context(), "other", realtime.String("not for raw clients")); err != nil {
			t.Error(err)
		}
		if err := f.namespace().To().Emit(t.Context(), "message", realtime.String("for everyone")); err != nil {
			t.Error(err)
		}
		if got := read(a) + read(b); got != "for everyonefor everyone" {
			t.Error(got)
		}
		if !slices.Equal(names, []string{"message", "message", "message", "message", "message"}) {
			t.Error(names)
		}
	})
}

// TestCloseCodes ends connections in all possible ways.
func TestCloseCodes(t *testing.T) {
	sends := func(opcode int, data string) func(*testing.T, *fixture, *websocket.Conn) {
		return func(t *testing.T, _ *fixture, ws *websocket.Conn) {
			go func() { _ = ws.WriteMessage(opcode, []byte(data)) }() // the connection may end before all is written
		}
	}
	sendsRaw := func(data string) func(*testing.T, *fixture, *websocket.Conn) {
		return func(t *testing.T, _ *fixture, ws *websocket.Conn) {
			go func() { _, _ = ws.NetConn().Write([]byte(data)) }()
		}
	}
	socketOf := func(f *fixture) *realtime.Socket {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.policy.Handlers[0].(*recorder).socket
	}
	tests := []struct {
		name   string
		act    func(*testing.T, *fixture, *websocket.Conn)
		code   int
		reason string
		format Format // "" for both
	}{
		{"no JSON", sends(websocket.TextMessage, "hello"), 1007, "parse error", JSON},
		{"nothing", sends(websocket.TextMessage, ""), 1007, "parse error", JSON},
		{"binary", sends(websocket.BinaryMessage, `{"event":"e"}`), 1003, "parse error", JSON},
		{"not UTF-8", sends(websocket.TextMessage, "{\"event\":\"\xff\"}"), 1007, "transport error", ""},
		{"too big", sends(websocket.TextMessage, `"`+strings.Repeat("x", 1000)+`"`), 1009, "transport error", ""},
		{"too big, binary", sends(websocket.BinaryMessage, strings.Repeat("x", 1001)), 1009, "transport error", ""},
		{"not masked", sendsRaw("\x81\x01x"), 1002, "transport error", ""},
		{"a reserved bit", sendsRaw("\xc1\x80\x00\x00\x00\x00"), 1002, "transport error", ""},
		{"the client closes", sends(websocket.CloseMessage, "\x03\xe8bye"), 1000, "transport close", ""},
		{"drained", func(t *testing.T, f *fixture, _ *websocket.Conn) { go f.Close(context.Background(), 0) }, 1001, "server shutting down", ""},
		{"disconnected", func(t *testing.T, f *fixture, _ *websocket.Conn) {
			if err := socketOf(f).Disconnect(false); err != nil {
				t.Error(err)
			}
		}, 1000, "server namespace disconnect", ""},
		{"disconnected, and the connection closed", func(t *testing.T, f *fixture, _ *websocket.Conn) {
			if err := socketOf(f).Disconnect(true); err != nil {
				t.Error(err)
			}
		}, 1000, "server namespace disconnect", ""},
		{"slow", func(t *testing.T, f *fixture, _ *websocket.Conn) {
			var err error
			for range 1000 {
				if err = socketOf(f).Emit(context.Background(), "message", realtime.String(strings.Repeat("x", 100))); err != nil {
					break
				}
			}
			if !errors.Is(err, realtime.ErrDisconnected) {
				t.Errorf("flooding is no error: %v", err)
			}
		}, 1013, "slow consumer", ""},
	}
	causes := map[int][]string{1002: {"breach of the WebSocket protocol"}, 1009: {"message is larger than limits payload"}}
	for _, test := range tests {
		if test.name == "not UTF-8" { // 1007 is also for frames that are not JSON
			causes[1007] = []string{"text message is not valid UTF-8"}
		} else {
			delete(causes, 1007)
		}
		for _, format := range []Format{JSON, Raw} {
			if test.format != "" && test.format != format {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				d := new(recorder)
				options := quiet
				options.MaxPayload, options.MaxQueue = 1000, 2000
				f := start(t, format, handled(d), options)
				ws := f.connect(t)
				if format == JSON {
					read(ws)
				}
				synctest.Wait()
				if test.reason == "transport close" {
					ws.SetCloseHandler(func(int, string) error { return nil })
				}
				test.act(t, f, ws)
				code := closeCode(ws)
				if code != test.code {
					t.Errorf("%s, %s: close code %d, want %d", test.name, format, code, test.code)
				}
				synctest.Wait()
				if got := f.reasons(); !slices.Equal(got, []string{test.reason}) || d.gone != test.reason {
					t.Errorf("%s, %s: reasons %q, and %q for handlers, want %q", test.name, format, got, d.gone, test.reason)
				}
				if got, want := f.causes(), causes[test.code]; !slices.Equal(got, want) {
					t.Errorf("%s, %s: the log says %q for the cause, want %q", test.name, format, got, want)
				}
				if sockets, _ := f.hub.Stats(); sockets != 0 || f.Len() != 0 {
					t.Errorf("%s, %s: %d sockets, %d connections are left", test.name, format, sockets, f.Len())
				}
			})
		}
	}
}

// A recorder is a handler that records which sockets connected, and why they disconnected.
type recorder struct {
	guest
	socket *realtime.Socket
	gone   string
}

func (d *recorder) HandleConnect(_ context.Context, s *realtime.Socket)                { d.socket = s }
func (d *recorder) HandleDisconnect(_ context.Context, _ *realtime.Socket, why string) { d.gone = why }

// TestNothingAfterClose sends frames after one that ends the connection. They are not handled.
func TestNothingAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		f := start(t, JSON, handled(guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			events = append(events, e.Name)
			if e.Name == "bye" {
				return true, e.Socket.Disconnect(false)
			}
			return true, nil
		}}), quiet)
		ws, _ := f.join(t)
		go func() {
			for _, event := range []string{"hello", "bye", "more", "and more"} {
				_ = ws.WriteMessage(websocket.TextMessage, []byte(`{"event":"`+event+`"}`))
			}
		}()
		if code := closeCode(ws); code != 1000 {
			t.Errorf("close code %d", code)
		}
		ws.Close()
		synctest.Wait()
		if !slices.Equal(events, []string{"hello", "bye"}) {
			t.Errorf("handled %q", events)
		}
	})
}

// TestVolatile: volatile events that cannot leave at once are dropped, and no others.
func TestVolatile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(), quiet)
		ws, _ := f.join(t)
		synctest.Wait()
		all := f.namespace().To()
		emit := func(b realtime.Broadcast, event string) {
			t.Helper()
			if err := b.Emit(t.Context(), event); err != nil {
				t.Error(err)
			}
		}
		emit(all.Volatile(), "first") // the client does not read, so the event waits
		time.Sleep(time.Second)
		emit(all.Volatile(), "dropped")
		emit(all, "second")
		emit(all.Volatile(), "dropped")
		for _, want := range []string{"first", "second"} {
			if got := read(ws); got != `{"event":"`+want+`","args":[]}` {
				t.Error(got)
			}
		}
		synctest.Wait()
		emit(all.Volatile(), "third")
		if got := read(ws); got != `{"event":"third","args":[]}` {
			t.Error(got)
		}
		if f.Len() != 1 {
			t.Error("the client is gone")
		}
	})
}

// TestQueueVolatile: volatile events wait while there is room for them.
func TestQueueVolatile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := quiet
		options.MaxQueue, options.QueueVolatile = 1000, true
		f := start(t, JSON, handled(), options)
		ws, _ := f.join(t)
		synctest.Wait()
		for i, size := range []int{10, 20, 1000, 30} {
			if err := f.namespace().To().Volatile().Emit(t.Context(), "message", realtime.String(strings.Repeat("x", size))); err != nil {
				t.Error(err)
			}
			if i == 0 {
				time.Sleep(time.Second)
			}
		}
		for _, size := range []int{10, 20, 30} {
			if got := read(ws); strings.Count(got, "x") != size {
				t.Errorf("%s is not the one of %d", got, size)
			}
		}
	})
}

// TestOrder: the events of one client are handled one at a time, in order. While one is handled,
// the others wait.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var handled []string
		busy := make(map[*realtime.Socket]bool)
		f := start(t, JSON, realtime.Policy{Handlers: []realtime.Handler{guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			mu.Lock()
			if busy[e.Socket] {
				t.Error("two at a time")
			}
			busy[e.Socket] = true
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			busy[e.Socket] = false
			handled = append(handled, e.Name)
			return true, nil
		}}}}, quiet)
		a, _ := f.join(t)
		b, _ := f.join(t)
		go write(t, a, `{"event":"a0"}`, `{"event":"a1"}`, `{"event":"a2"}`)
		go write(t, b, `{"event":"b0"}`, `{"event":"b1"}`, `{"event":"b2"}`)
		for i, want := range []string{"[]", "[a0 b0]", "[a0 a1 b0 b1]", "[a0 a1 a2 b0 b1 b2]"} {
			synctest.Wait()
			mu.Lock()
			slices.Sort(handled)
			if got := fmt.Sprint(handled); got != want {
				t.Errorf("after %d seconds: %s, want %s", i, got, want)
			}
			mu.Unlock()
			time.Sleep(time.Second)
		}
	})
}

// TestLateAck answers an event after the handler has returned.
func TestLateAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(guest{event: func(_ context.Context, e *realtime.Event) (bool, error) {
			if e.Name == "later" {
				time.AfterFunc(time.Minute, func() {
					if err := e.Ack(realtime.String("at last")); err != nil {
						t.Error(err)
					}
				})
			}
			return true, nil
		}}), quiet)
		ws, _ := f.join(t)
		write(t, ws, `{"event":"later","id":5}`, `{"event":"other"}`)
		if got := read(ws); got != `{"ack":5,"args":["at last"]}` {
			t.Error(got)
		}
	})
}

// TestBatch: the answers to frames that came together leave together.
func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(answers), quiet)
		ws, _ := f.join(t)
		synctest.Wait()
		var together []byte
		for i := range 5 {
			together = append(together, clientFrame(fmt.Sprintf(`{"event":"e","id":%d}`, i))...)
		}
		if _, err := ws.NetConn().Write(together); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 1000)
		n, err := ws.NetConn().Read(buffer)
		if err != nil || strings.Count(string(buffer[:n]), `"ack"`) != 5 {
			t.Errorf("the first write has %q, %v", buffer[:n], err)
		}
	})
}

// clientFrame returns a short text frame as a client sends it, with a mask of zeros.
func clientFrame(text string) []byte {
	return append([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}, text...)
}

func TestSettingsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := start(t, JSON, handled(answers), quiet)
		ws, _ := f.join(t)
		f.mu.Lock()
		f.policy = realtime.Policy{}
		f.options.MaxPayload = 50
		f.mu.Unlock()
		write(t, ws, `{"event":"e","id":1}`)
		if got := read(ws); !strings.Contains(got, "unhandled_event") {
			t.Error(got)
		}
		// The limit holds from the next read on, and one read was waiting.
		write(t, ws, `{"event":"e"}`)
		go func() { _ = ws.WriteMessage(websocket.TextMessage, []byte(`{"event":"`+strings.Repeat("e", 50)+`"}`)) }()
		if code := closeCode(ws); code != 1009 {
			t.Errorf("close code %d", code)
		}
	})
}

// TestEndBeforeStart closes the server when a connection has opened and its client is not
// connected yet.
func TestEndBeforeStart(t *testing.T) {
	for _, format := range []Format{JSON, Raw} {
		synctest.Test(t, func(t *testing.T) {
			var f *fixture
			var ghosts []*realtime.Socket
			f = start(t, format, handled(guest{connect: func(s *realtime.Socket) { ghosts = append(ghosts, s) }}), Options{Options: connection.Options{
				PingInterval: time.Hour,
				Logger: zap.New(hook(func(message string) {
					if message == "connected" {
						if err := f.Close(context.Background(), 0); err != nil {
							t.Error(err)
						}
					}
				})),
			}})
			if ws, _, err := f.dial(nil, ""); err == nil {
				if code := closeCode(ws); code != websocket.CloseGoingAway && code != 0 {
					t.Errorf("%s: close code %d", format, code)
				}
				ws.Close()
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if sockets, _ := f.hub.Stats(); sockets != 0 || len(ghosts) != 0 {
				for _, s := range ghosts { // or the fixture would report them
					s.HandleDisconnect("test")
				}
				t.Errorf("%s: %d sockets without a connection are left in the hub", format, sockets)
			}
		})
	}
}

// TestEndWhileOpening closes servers while clients connect.
func TestEndWhileOpening(t *testing.T) {
	for range 100 {
		f := start(t, JSON, realtime.Policy{}, quiet)
		const clients = 8
		here := make(chan struct{}, clients)
		var coming sync.WaitGroup
		for range clients {
			coming.Go(func() {
				defer func() { here <- struct{}{} }() // in any case
				for {
					ws, _, err := f.dial(nil, "")
					if err != nil {
						return
					}
					select {
					case here <- struct{}{}:
					default:
					}
					ws.Close()
				}
			})
		}
		<-here
		if err := f.Close(context.Background(), 0); err != nil {
			t.Error(err)
		}
		go func() {
			for range here {
			}
		}()
		coming.Wait()
		close(here)
	}
}

// TestComingAndGoing is for the race detector.
func TestComingAndGoing(t *testing.T) {
	f := start(t, JSON, handled(answers), Options{Options: connection.Options{PingInterval: time.Millisecond}})
	var running sync.WaitGroup
	for i := range 6 {
		running.Go(func() {
			for range 20 {
				ws, _, err := f.dial(nil, "")
				if err != nil {
					t.Error(err)
					return
				}
				read(ws)
				write(t, ws, `{"event":"e","id":1}`)
				if i%2 == 0 {
					read(ws)
					_ = ws.WriteMessage(websocket.CloseMessage, nil)
				}
				_ = f.namespace().To().Emit(context.Background(), "news")
				ws.Close()
			}
		})
	}
	running.Wait()
}
