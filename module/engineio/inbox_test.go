package engineio_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/module/engineio"
)

// TestServerGo: what a POST brings is handled where Server.Go runs it, after the answer to the POST.
// What comes meanwhile is handled there, too.
func TestServerGo(t *testing.T) {
	received := make(chan string, 2)
	server, address := serve(t, func(*engineio.Session) engineio.Receiver {
		return funcs{receive: func(p engineio.Packet) { received <- string(p.Data) }}
	})
	tasks := make(chan func(), 2)
	server.Go = func(task func()) { tasks <- task }
	query := polling + open(t, address)
	for _, body := range []string{"4first", "4second"} {
		text := request(http.MethodPost, query, "Content-Length: "+strconv.Itoa(len(body))) + body
		if a := exchange(t, address, text); a.body != "ok" {
			t.Fatalf("answered %+v", a)
		}
	}
	if len(received) > 0 || len(tasks) != 1 {
		t.Fatalf("%d messages received, and %d tasks given to Go", len(received), len(tasks))
	}
	(<-tasks)()
	if first, second := <-received, <-received; first != "first" || second != "second" {
		t.Errorf("received %s, then %s", first, second)
	}
}
