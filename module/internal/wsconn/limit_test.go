package wsconn

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestLimitFollows: a message may have as many bytes as the limit is when it comes,
// whenever its reader began to wait.
func TestLimitFollows(t *testing.T) {
	for name, ping := range map[string]bool{"idle": false, "after a ping": true} {
		t.Run(name, func(t *testing.T) {
			var limit atomic.Int64
			limit.Store(1000)
			results := make(chan error, 4)
			address := listen(t, 1000, func(c *Conn) {
				allow(c, 2*patience)
				defer end(c)
				for {
					_, _, err := c.Read(limit.Load)
					if results <- err; err != nil {
						return
					}
				}
			})
			ws := dial(t, address)
			_ = ws.NetConn().SetDeadline(time.Now().Add(patience))
			send := func(size int) error {
				t.Helper()
				if err := ws.WriteMessage(Binary, make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				return <-results
			}
			settle := func() { // the server's reader has begun to wait again
				t.Helper()
				if !ping {
					return
				}
				pong := make(chan struct{})
				ws.SetPongHandler(func(string) error { close(pong); return nil })
				if err := ws.WriteMessage(websocket.PingMessage, nil); err != nil {
					t.Fatal(err)
				}
				go func() { _, _, _ = ws.NextReader() }()
				<-pong
			}
			if err := send(1000); err != nil {
				t.Fatal(err)
			}
			settle()
			limit.Store(100_000)
			if err := send(100_000); err != nil {
				t.Fatalf("the limit is raised: %v", err)
			}
			limit.Store(10)
			if err := send(11); !errors.Is(err, errTooBig) {
				t.Errorf("the limit is lowered: %v", err)
			}
		})
	}
}
