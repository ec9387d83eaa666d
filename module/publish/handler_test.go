package publish

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestKeys(t *testing.T) {
	core, log := observer.New(zap.InfoLevel)
	a := serve(t, Options{Logger: zap.New(core)}, realtime.Options{})
	for header, status := range map[string]int{
		"Bearer " + testKey:                           http.StatusOK,
		"bearer  " + testKey + " ":                    http.StatusOK,
		"Bearer an-older-key-of-the-tests-0123456789": http.StatusOK,
		"":                                    http.StatusUnauthorized,
		"Bearer":                              http.StatusUnauthorized,
		"Bearer ":                             http.StatusUnauthorized,
		testKey:                               http.StatusUnauthorized,
		"Basic " + testKey:                    http.StatusUnauthorized,
		"Bearer " + testKey + "0":             http.StatusUnauthorized,
		"Bearer " + testKey[1:]:               http.StatusUnauthorized,
		"Bearer " + strings.ToUpper(testKey):  http.StatusUnauthorized,
		"Bearer " + testKey + ", " + testKey:  http.StatusUnauthorized,
		"Bearer " + strings.Repeat("x", 8000): http.StatusUnauthorized,
	} {
		if got := a.call("GET", "stats", "", "Authorization", header); got.status != status {
			t.Errorf("%q is answered %d", header, got.status)
		}
	}
	// Without a key nothing is told, not even what there is.
	for _, path := range []string{"nothing", "emit", ""} {
		got := a.call("PUT", path, "", "Authorization", "Bearer wrong")
		a.refuses(got, http.StatusUnauthorized, "unauthorized", "Authorization")
		if got.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("headers %v", got.header)
		}
	}
	if n := log.FilterMessage("refused").Len(); n != 13 {
		t.Errorf("%d lines", n)
	}
	for _, line := range log.All() {
		if strings.Contains(fmt.Sprint(line), testKey[5:]) {
			t.Errorf("a key is in the log: %v", line)
		}
	}

	for _, texts := range [][]string{{}, {""}, {testKey, "short-secret"}, {strings.Repeat("secret ", 10)}, {strings.Repeat("secret\n", 10)}, {strings.Repeat("sécret", 10)}} {
		if _, err := NewKeys(texts...); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), testKey) {
			t.Errorf("%q: %v", texts, err)
		}
	}
	if (Keys{}).match(http.Header{"Authorization": {"Bearer "}}) {
		t.Error("no keys let somebody in")
	}
	if text := fmt.Sprintf("%v %+v %#v", a.handler, Keys{}, Options{}); strings.Contains(text, testKey) {
		t.Error("keys can be printed")
	}
}

func TestRequests(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "u1", "room")
	for _, test := range []struct {
		method, path, body string
		status             int
		code, message      string
	}{
		{"GET", "", "", 404, "not_found", "no such call"},
		{"GET", "emit/", "", 404, "not_found", "no such call"},
		{"GET", "sockets%2Fjoin", "", 404, "not_found", "no such call"},
		{"GET", "rooms/a/b/presence", "", 404, "not_found", "no such call"},
		{"GET", "rooms/a", "", 404, "not_found", "no such call"},
		{"GET", "rooms//presence", "", 400, "bad_field", "room is empty"},
		{"GET", "emit", "", 405, "method_not_allowed", "takes POST"},
		{"OPTIONS", "emit", "", 405, "method_not_allowed", "takes POST"},
		{"HEAD", "emit", "", 405, "", ""},
		{"DELETE", "sockets", "", 405, "method_not_allowed", "takes GET"},

		{"POST", "emit", "", 400, "bad_json", "offset 0"},
		{"POST", "emit", `{"event":"e",}`, 400, "bad_json", "offset 14"},
		{"POST", "emit", `{"event":"e"} {}`, 400, "bad_json", "offset 15"},
		{"POST", "emit", "{\"event\":\"a\xff\"}", 400, "bad_json", "offset 11"},
		{"POST", "emit", strings.Repeat("[", 100_000), 400, "bad_json", ""},
		{"POST", "emit", `[]`, 400, "bad_field", "the body must be an object"},
		{"POST", "emit", `null`, 400, "bad_field", "the body must be an object"},
		{"POST", "emit", `{"event":"e","Namespace":"/"}`, 400, "unknown_field", `no field "Namespace"`},
		{"POST", "emit", `{"event":"e","` + strings.Repeat("é", 500) + `":1}`, 400, "unknown_field", strings.Repeat("é", 32) + "…"},
		{"POST", "emit", `{}`, 400, "bad_field", "event is empty"},
		{"POST", "emit", `{"event":1}`, 400, "bad_field", "event must be a string"},
		{"POST", "emit", `{"event":null}`, 400, "bad_field", "event must not be null"},
		{"POST", "emit", `{"event":"e","to":null}`, 400, "bad_field", "to must not be null"},
		{"POST", "emit", `{"event":"e","to":"room"}`, 400, "bad_field", "to must be an array of strings or numbers"},
		{"POST", "emit", `{"event":"e","to":[true]}`, 400, "bad_field", "to must be an array of strings or numbers"},
		{"POST", "emit", `{"event":"e","to":["a",[]]}`, 400, "bad_field", "to must be an array of strings or numbers"},
		{"POST", "emit", `{"event":"e"}`, 400, "bad_field", `"everyone": true`},
		{"POST", "emit", `{"event":"e","except":["a"]}`, 400, "bad_field", `"everyone": true`},
		{"POST", "emit", `{"event":"e","everyone":false}`, 400, "bad_field", `"everyone": true`},
		{"POST", "emit?ack=1s", `{"event":"e"}`, 400, "bad_field", `"everyone": true`},
		{"POST", "emit", `{"event":"e","everyone":1}`, 400, "bad_field", "everyone must be true or false"},
		{"POST", "emit", `{"event":"e","everyone":true,"to":["a"]}`, 400, "bad_field", "everyone cannot be true beside to or users"},
		{"POST", "emit", `{"event":"e","everyone":true,"users":[]}`, 400, "bad_field", "everyone cannot be true beside to or users"},
		{"POST", "emit", `{"event":"e","to":[""]}`, 400, "bad_field", "a name in to is empty"},
		{"POST", "emit", `{"event":"e","to":["a",null]}`, 400, "bad_field", "to must be an array of strings or numbers"},
		{"POST", "emit", `{"event":"e","users":["` + strings.Repeat("x", 257) + `"]}`, 400, "bad_field", "a name in users has more than 256 bytes"},
		{"POST", "emit", `{"event":"e","except":["a\r\nb"]}`, 400, "bad_field", "a name in except has control characters"},
		{"POST", "emit", `{"event":"e","to":` + quoted(named("r", 10_001)...) + `}`, 400, "bad_field", "to has more than 10000 names"},
		{"POST", "emit", `{"event":"` + strings.Repeat("x", 257) + `"}`, 400, "bad_field", "event has more than 256 bytes"},
		{"POST", "emit", `{"event":"disconnect"}`, 400, "reserved_name", "disconnect"},
		{"POST", "emit", `{"event":"e","args":{}}`, 400, "bad_field", "args must be an array"},
		{"POST", "emit", `{"event":"e","args":[{"$binary":"?"}]}`, 400, "bad_field", "args: decoding $binary"},
		{"POST", "emit", `{"event":"e","args":[` + strings.TrimSuffix(strings.Repeat(`{"$binary":"AA=="},`, 11), ",") + `]}`, 400, "bad_field", "at most 10"},
		{"POST", "emit", `{"event":"e","to":["room"],"args":` + strings.Repeat("[", 130) + strings.Repeat("]", 130) + `}`, 400, "bad_field", "args exceeds the endpoint's limits: depth is 128"},
		{"POST", "emit", `{"event":"e","to":["room"],"args":[{"$binary":"AA=="},` + strings.Repeat(`{"a":`, 129) + "1" + strings.Repeat("}", 129) + `]}`, 400, "bad_field", "args exceeds the endpoint's limits: depth is 128"},
		{"POST", "emit", `{"event":"e","to":["room"],"args":[` + strings.Repeat("0,", 1000) + `0]}`, 400, "bad_field", "args exceeds the endpoint's limits: arguments is 1000"},
		{"POST", "emit", `{"event":"e","to":["room"],"args":[` + strings.Repeat("0,", 1_000_000) + `0]}`, 400, "bad_field", "args has more than 10000 elements"},
		{"POST", "emit", `{"event":"e","to":[` + strings.Repeat("0,", 1_000_000) + `0]}`, 400, "bad_field", "to has more than 10000 elements"},
		{"POST", "batch", `{"commands":[` + strings.Repeat("0,", 1_000_000) + `0]}`, 400, "bad_field", "commands has more than 10000 elements"},
		{"POST", "emit", `{"event":"e","volatile":1}`, 400, "bad_field", "volatile must be true or false"},
		{"POST", "emit", `{"event":"e","everyone":true,"namespace":"/other"}`, 400, "unknown_namespace", `"/other"`},
		{"POST", "emit", `{"event":"e","everyone":true,"namespace":""}`, 400, "bad_field", "namespace is empty"},
		{"POST", "emit?ack=", `{"event":"e"}`, 400, "bad_parameter", "ack takes one value"},
		{"POST", "emit?ack=3", `{"event":"e"}`, 400, "bad_parameter", "such as 3s"},
		{"POST", "emit?ack=-1s", `{"event":"e"}`, 400, "bad_parameter", "such as 3s"},
		{"POST", "emit?ack=31s", `{"event":"e"}`, 400, "bad_parameter", "at most 30s"},
		{"POST", "emit?ack=1s&ack=1s", `{"event":"e"}`, 400, "bad_parameter", "one value"},
		{"POST", "emit?ack=%zz", `{"event":"e"}`, 400, "bad_parameter", "not encoded"},
		{"POST", "emit?wait=1s", `{"event":"e"}`, 400, "unknown_parameter", `no parameter "wait"; it has ack`},
		{"POST", "emit?local=0", `{"event":"e","everyone":true}`, 400, "bad_parameter", "local takes 1"},
		{"GET", "stats?local=true", "", 400, "bad_parameter", "local takes 1"},
		{"POST", "batch?ack=1s", `{"commands":[]}`, 400, "unknown_parameter", "it has local"},

		{"POST", "sockets/join", `{"rooms":["a"]}`, 400, "bad_field", "where is missing"},
		{"POST", "sockets/join", `{"where":{},"rooms":["a"]}`, 400, "bad_field", "where has no condition"},
		{"POST", "sockets/join", `{"where":{"user":""},"rooms":["a"]}`, 400, "bad_field", "where.user is empty"},
		{"POST", "sockets/join", `{"where":{"user":null},"rooms":["a"]}`, 400, "bad_field", "where.user must not be null"},
		{"POST", "sockets/join", `{"where":{"user":true},"rooms":["a"]}`, 400, "bad_field", "where.user must be a string or a number"},
		{"POST", "sockets/join", `{"where":{"user":[true]},"rooms":["a"]}`, 400, "bad_field", "where.user must be a string or a number, or an array of them"},
		{"POST", "sockets/join", `{"where":{"user":["u1",""]},"rooms":["a"]}`, 400, "bad_field", "a name in where.user is empty"},
		{"POST", "sockets/join", `{"where":{"user":` + quoted(named("u", 10_001)...) + `},"rooms":["a"]}`, 400, "bad_field", "where.user has more than 10000 names"},
		{"POST", "sockets/join", `{"where":{"except":["a"],"not":{"user":"u2"}},"rooms":["a"]}`, 400, "bad_field", "where has no condition"},
		{"POST", "sockets/join", `{"where":{"user":"u1","not":{}},"rooms":["a"]}`, 400, "bad_field", "where.not has no condition"},
		{"POST", "sockets/join", `{"where":{"user":"u1","not":{"not":{}}},"rooms":["a"]}`, 400, "unknown_field", `where.not has no field "not"`},
		{"POST", "sockets/join", `{"where":{"user":"u1","not":{"user":null}},"rooms":["a"]}`, 400, "bad_field", "where.not.user must not be null"},
		{"POST", "sockets/join", `{"where":{"user":"u1","except":"a"},"rooms":["a"]}`, 400, "bad_field", "where.except must be an array"},
		{"POST", "sockets/join", `{"where":{"name":"x"},"rooms":["a"]}`, 400, "unknown_field", `where has no field "name"`},
		{"POST", "sockets/join", `{"where":{"namespace":["/","/other"]},"rooms":["a"]}`, 400, "unknown_namespace", "/other"},
		{"POST", "sockets/join", `{"where":{"namespace":"/other"},"rooms":["a"]}`, 400, "unknown_namespace", "/other"},
		{"POST", "sockets/join", `{"where":{"user":"u1"}}`, 400, "bad_field", "rooms must be"},
		{"POST", "sockets/join", `{"where":{"user":"u1"},"rooms":[""]}`, 400, "bad_field", "a name in rooms is empty"},
		{"POST", "sockets/join", `{"where":{"user":"u1"},"rooms":` + quoted(named("r", 1001)...) + `}`, 400, "bad_field", "rooms has more than 1000 names"},
		{"POST", "sockets/join", `{"where":{"user":"u1"},"rooms":["` + c.socket.ID() + `"]}`, 400, "reserved_name", c.socket.ID()},
		{"POST", "sockets/leave", `{"where":{"user":"u1"},"rooms":[]}`, 400, "bad_field", "rooms must be"},
		{"POST", "sockets/data", `{"where":{"user":"u1"}}`, 400, "bad_field", "patch is missing"},
		{"POST", "sockets/data", `{"where":{"user":"u1"},"patch":[]}`, 400, "bad_field", "patch must be an object"},
		{"POST", "sockets/disconnect", `{"where":{"user":"u1"},"reason":"a\nb"}`, 400, "bad_field", "reason has control characters"},
		{"POST", "sockets/disconnect", `{"where":{"user":"u1"},"close":"yes"}`, 400, "bad_field", "close must be true or false"},

		{"POST", "batch", `{}`, 400, "bad_field", "commands must be"},
		{"POST", "batch", `{"commands":{}}`, 400, "bad_field", "commands must be an array"},
		{"POST", "batch", `{"commands":[` + strings.Repeat(`{},`, 1000) + `{}]}`, 400, "bad_field", "commands has more than 1000"},

		{"GET", "sockets?users=u1", "", 400, "unknown_parameter", `"users"; it has room, user, namespace, cursor`},
		{"GET", "sockets?user=", "", 400, "bad_parameter", "user takes one value"},
		{"GET", "sockets?user=a%0Ab", "", 400, "bad_field", "user has control characters"},
		{"GET", "sockets?namespace=/other", "", 400, "unknown_namespace", "/other"},
		{"GET", "sockets?cursor=x", "", 400, "bad_parameter", "cursor takes"},
		{"GET", "sockets?cursor=WyJhIl0", "", 400, "bad_parameter", "cursor takes"},
		{"GET", "rooms?namespace=other", "", 400, "unknown_namespace", "other"},
		{"GET", "rooms?cursor=x", "", 400, "bad_parameter", "cursor takes"},
		{"GET", "rooms/room/presence?namespace=/other", "", 400, "unknown_namespace", "/other"},
	} {
		got := a.call(test.method, test.path, test.body)
		if test.method == http.MethodHead {
			if got.status != test.status || got.header.Get("Allow") != "POST" {
				t.Errorf("HEAD: %d", got.status)
			}
			continue
		}
		a.refuses(got, test.status, test.code, test.message)
		if len(got.body) > 500 {
			t.Errorf("%s %s: %d bytes are answered", test.method, test.path, len(got.body))
		}
	}
	// Nothing of it has been done.
	equal(t, "events", c.received(), []string{})
	equal(t, "rooms", c.socket.Rooms(), []string{"room"})
}

func TestContentTypes(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	const body = `{"event":"e","everyone":true}`
	for contentType, status := range map[string]int{
		"application/json":                  http.StatusAccepted,
		"Application/JSON; Charset=UTF-8":   http.StatusAccepted,
		"":                                  http.StatusUnsupportedMediaType,
		"text/plain":                        http.StatusUnsupportedMediaType,
		"text/plain;charset=UTF-8":          http.StatusUnsupportedMediaType,
		"application/x-www-form-urlencoded": http.StatusUnsupportedMediaType,
		"multipart/form-data; boundary=x":   http.StatusUnsupportedMediaType,
		"application/jsonp":                 http.StatusUnsupportedMediaType,
		"application/json; charset=utf-16":  http.StatusUnsupportedMediaType,
		"application/json, text/plain":      http.StatusUnsupportedMediaType,
		";":                                 http.StatusUnsupportedMediaType,
	} {
		if got := a.call("POST", "emit", body, "Content-Type", contentType); got.status != status {
			t.Errorf("%q is answered %d", contentType, got.status)
		}
	}
	if got := a.call("POST", "emit", "\ufeff"+body); got.status != http.StatusAccepted {
		t.Errorf("after a byte order mark a body is answered %d %s", got.status, got.body)
	}
	a.refuses(a.call("POST", "emit", body, "Content-Encoding", "gzip"), http.StatusUnsupportedMediaType, "unsupported_media_type", "not compressed")
	a.refuses(a.call("POST", "emit", `{"event":"`+strings.Repeat("x", MaxBody)), http.StatusRequestEntityTooLarge, "too_large", "4194304")
	large := `{"event":"e","to":[],"args":["` + strings.Repeat("x", MaxBody-40) + `"]}`
	large += strings.Repeat(" ", MaxBody-len(large))
	a.emit(large)
	a.refuses(a.call("POST", "emit", large+" "), http.StatusRequestEntityTooLarge, "too_large", "4194304")
}

// A body that ends too early is none.
func TestBrokenBody(t *testing.T) {
	keys, err := NewKeys(testKey)
	if err != nil {
		t.Fatal(err)
	}
	a := serve(t, Options{}, realtime.Options{})
	h := NewHandler(a.endpoint, Options{Keys: keys})
	r := httptest.NewRequest(http.MethodPost, "/emit", io.MultiReader(strings.NewReader(`{"event":`), broken{}))
	r.Header.Set("Authorization", "Bearer "+testKey)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a.refuses(reply{w.Code, w.Header(), w.Body.String()}, http.StatusBadRequest, "bad_body", "to its end")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
