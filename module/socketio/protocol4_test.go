package socketio

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/internal/rawjson"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestCutQuery(t *testing.T) {
	for text, want := range map[string][2]string{
		"0":                {"0", ""},
		"0/a?b=c":          {"0/a", "b=c"},
		"0/a?b=c&d?e#f?g,": {"0/a,", "b=c&d?e"},
		"0/?a=b,":          {"0/,", "a=b"},
		`0/a,{"b":"?"}`:    {`0/a,{"b":"?"}`, ""},
		`2["/a?b",1]`:      {`2["/a?b",1]`, ""},
		`2/a?b,7["?",1]`:   {`2/a,7["?",1]`, "b"},
		`51-/a#b?c,["x"]`:  {`51-/a,["x"]`, ""},
		`51-["/",{"?":1}]`: {`51-["/",{"?":1}]`, ""},
		"":                 {"", ""},
		"?":                {"?", ""},
		"0?a=b,":           {"0?a=b,", ""},
	} {
		rest, query := cutQuery([]byte(text))
		if string(rest) != want[0] || query != want[1] {
			t.Errorf("%q is %q and %q; want %q", text, rest, query, want)
		}
	}
	for query, want := range map[string]string{
		"": "", "&": "", "a": `{"a":""}`, "b=c": `{"b":"c"}`, "b=<&c=%22%00&d": `{"b":"<","c":"\"\u0000","d":""}`,
		"b=\xff&c=%ff": `{"b":"\ufffd","c":"\ufffd"}`, "a=1&a=2": `{"a":"2"}`, "a=%zz+": `{"a":"%zz+"}`, "a=b=c+d": `{"a":"b=c d"}`,
	} {
		if got := authOf(query); string(got) != want {
			t.Errorf("%q is %s; want %s", query, got, want)
		}
	}
}

// FuzzCutQuery: nothing of the text is lost, and the object of the query is not much larger than
// the query.
func FuzzCutQuery(f *testing.F) {
	for _, text := range []string{"0", "0/a?b=c,", "0/a?b=%zz&&=", `2/a?b,7["?"]`, `51-/a#b?c,["x"]`, "1/a?", "0/a?b=\xff"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rest, query := cutQuery(bytes.Clone(text))
		if len(rest)+len(query) > len(text) {
			t.Errorf("%q became %q and %q", text, rest, query)
		}
		if again, more := cutQuery(bytes.Clone(rest)); more != "" || !bytes.Equal(again, rest) {
			t.Errorf("%q still has the query %q", rest, more)
		}
		auth := authOf(query)
		if auth != nil && (!rawjson.Valid(auth) || !rawjson.Object(auth)) || len(auth) > 6*len(query)+8 {
			t.Errorf("%q became %s", query, auth)
		}
	})
}

// TestRevision4Recovery: a client of revision 4 does not learn how to come back to its socket.
// Its socket is not kept among the recoverable ones, and whoever learns its id cannot send in
// its name.
func TestRevision4Recovery(t *testing.T) {
	s := newTestServer(t, nil)
	s.options().Engine.EIO3 = true
	hub := s.endpoint.Hub()
	hub.SetRecovery(realtime.Recovery{Window: time.Minute})
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?EIO=3&transport=polling", nil))
	_, rest, _ := strings.Cut(answer.Body.String(), `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	namespace := hub.Namespace("/")
	var sockets []*realtime.Socket
	for deadline := time.Now().Add(time.Minute); len(sockets) == 0; sockets = namespace.Sockets() {
		if time.Now().After(deadline) {
			t.Fatal("nobody is in the namespace")
		}
		runtime.Gosched()
	}
	socket := sockets[0]
	if strings.Contains(socket.ID(), sid) || len(socket.ID()) != 22 || !namespace.IsSocketRoom(socket.ID()) || namespace.IsSocketRoom(sid) {
		t.Errorf("the socket of session %s is %s", sid, socket.ID())
	}
	if socket.PrivateID() != "" || socket.RecoveryWindow("transport close") != 0 {
		t.Error("its client may come back")
	}
	if err := namespace.To(socket.ID()).Emit(t.Context(), "own"); err != nil {
		t.Error(err)
	}
	if err := socket.Emit(t.Context(), "direct"); err != nil {
		t.Error(err)
	}
	answer = httptest.NewRecorder()
	s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/?EIO=3&transport=polling&sid="+sid, nil))
	if got := answer.Body.String(); !strings.Contains(got, `42["own"`) || !strings.Contains(got, `42["direct"`) {
		t.Errorf("it is told %s", got)
	}
	socket.Close("transport close")
	for deadline := time.Now().Add(time.Minute); len(namespace.Find(realtime.Selector{})) > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it is still remembered")
		}
	}
}
