package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// said returns what an answer comes to.
func (a *answer) said() string {
	var b strings.Builder
	if a.User != "" {
		fmt.Fprintf(&b, "user %s ", a.User)
	}
	if len(a.Data) > 0 {
		text, _ := json.Marshal(a.Data)
		fmt.Fprintf(&b, "data %s ", text)
	}
	if len(a.Join)+len(a.Leave) > 0 {
		fmt.Fprintf(&b, "join %q leave %q ", a.Join, a.Leave)
	}
	for _, e := range a.Emit {
		fmt.Fprintf(&b, "emit %s %s to %q users %q except %q everyone %t volatile %t ", e.Event, realtime.AppendInlineArgs(nil, e.Args), e.To, e.Users, e.Except, e.Everyone, e.Volatile)
	}
	if a.Ack != nil {
		fmt.Fprintf(&b, "ack %s ", realtime.AppendInlineArgs(nil, a.Ack))
	}
	if !a.ExpiresAt.IsZero() {
		fmt.Fprintf(&b, "expires %s ", a.ExpiresAt.UTC().Format(time.RFC3339Nano))
	}
	if a.Disconnect != nil {
		fmt.Fprintf(&b, "disconnect %q %t ", a.Disconnect.Reason, a.Disconnect.Close)
	}
	return strings.TrimSpace(b.String())
}

// TestLooseAnswers has the same things as languages write them.
func TestLooseAnswers(t *testing.T) {
	for _, tt := range []struct{ kind, body, want string }{
		// Nothing.
		{typeConnect, "", ""}, {typeConnect, " \r\n", ""}, {typeConnect, "null", ""}, {typeConnect, "[]", ""}, {typeConnect, "[ ]", ""}, {typeEvent, "{}", ""}, {typeConnect, "\ufeff", ""},
		{typeConnect, `{"user":null,"data":null,"join":null,"emit":null,"expires_at":null,"disconnect":null,"error":null}`, ""},
		{typeEvent, `{"ack":null,"leave":null,"data":[],"join":[],"emit":[],"error":false}`, ""},
		{typeEvent, `{"join":{},"leave":{},"emit":{},"data":{},"error":""}`, ""}, // Lua
		// A byte order mark.
		{typeEvent, "\ufeff" + `{"join":["a"]}`, `join ["a"] leave []`},
		// Numbers.
		{typeConnect, `{"user":7,"join":[1,"b",2.0,12345678901234567890123]}`, `user 7 join ["1" "b" "2" "12345678901234567890123"] leave []`},
		{typeConnect, `{"user":7.0}`, "user 7"},
		{typeEvent, `{"leave":[-1,1e3]}`, `join [] leave ["-1" "1000"]`},
		{typeEvent, `{"emit":[{"event":1,"to":[1],"users":[2],"except":[3],"args":[1.0],"volatile":1}]}`, `emit 1 [1.0] to ["1"] users ["2"] except ["3"] everyone false volatile true`},
		{typeEvent, `{"disconnect":{"reason":42,"close":1}}`, `disconnect "42" true`},
		{typeEvent, `{"disconnect":[]}`, `disconnect "" false`},
		{typeEvent, `{"disconnect":true}`, `disconnect "" false`},
		{typeEvent, `{"disconnect":false}`, ""},
		{typeEvent, `{"disconnect":{"reason":null,"close":null}}`, `disconnect "" false`},
		// Lists whose first elements PHP has filtered out, in their order.
		{typeEvent, `{"join":{"2":"b","0":"a"},"emit":{"1":{"event":"e"}}}`, `join ["b" "a"] leave [] emit e [] to [] users [] except [] everyone false volatile false`},
		// Members in the styles of other languages.
		{typeConnect, `{"User":"u","Join":["a"],"expiresAt":1893456000}`, `user u join ["a"] leave [] expires 2030-01-01T00:00:00Z`},
		{typeConnect, `{"ExpiresAt":"2030-01-01T00:00:00Z"}`, `expires 2030-01-01T00:00:00Z`},
		{typeConnect, `{"data":{"a":[1]},"disconnect":{"close":true}}`, `data {"a":[1]} disconnect "" true`},
		{typeEvent, `{"ack":[null,{"$binary":"AQI="},[]]}`, `ack [null,{"$binary":"AQI="},[]]`},
		{typeEvent, `{"emit":[{"event":"e","everyone":true,"except":["x"],"to":null}]}`, `emit e [] to [] users [] except ["x"] everyone true volatile false`},
	} {
		a, err := parseAnswer(tt.kind, []byte(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.body, err)
			continue
		}
		if got := a.said(); got != tt.want || len(a.oddities) > 0 || a.Refusal != nil {
			t.Errorf("%s\nis %s\nwant %s\nand %q", tt.body, got, tt.want, a.oddities)
		}
	}
}

// TestExpiry has times as languages write them by themselves.
func TestExpiry(t *testing.T) {
	const second = "2030-01-02T03:04:05Z"
	for text, want := range map[string]string{
		`1893553445`: second, `1893553445.0`: second, `"1893553445"`: second, `1.893553445e9`: second, `1893553445000`: second, `1893553445250`: "2030-01-02T03:04:05.25Z",
		`1893553445.123456`:                 "2030-01-02T03:04:05.123456Z", // Python's time.time, PHP's microtime
		`"2030-01-02T03:04:05Z"`:            second,
		`"2030-01-02t03:04:05z"`:            second,
		`"2030-01-02T04:04:05+01:00"`:       second,
		`"2030-01-02T04:04:05+0100"`:        second,                        // PHP's DATE_ISO8601, Java's SimpleDateFormat
		`"2030-01-02 03:04:05.123456+00"`:   "2030-01-02T03:04:05.123456Z", // PostgreSQL
		`"2030-01-02 03:04:05+00:00"`:       second,                        // Python's str(datetime)
		`"2030-01-02 03:04:05 UTC"`:         second,                        // Ruby
		`"2030-01-02 04:04:05 +0100"`:       second,                        // Ruby
		`"2030-01-02T03:04:05.000000Z"`:     second,                        // Laravel
		`"2030-01-02T03:04:05.0000000Z"`:    second,                        // .NET
		`"2030-01-02T03:04Z[UTC]"`:          "2030-01-02T03:04:00Z",        // Java's ZonedDateTime
		`"Wed, 02 Jan 2030 03:04:05 GMT"`:   second,                        // Flask
		`"Wed, 02 Jan 2030 04:04:05 +0100"`: second,                        // PHP's DATE_RFC2822
		// Without a zone.
		`"2030-01-02T03:04:05"`:        second + " in no zone",
		`"2030-01-02 03:04:05"`:        second + " in no zone",                   // MySQL, Laravel
		`"2030-01-02T03:04:05.123456"`: "2030-01-02T03:04:05.123456Z in no zone", // Python's isoformat
		`"2030-01-02T03:04"`:           "2030-01-02T03:04:00Z in no zone",        // Java's LocalDateTime
		// What Go and .NET have for none.
		`"0001-01-01T00:00:00Z"`: "",
	} {
		a, err := parseAnswer(typeConnect, []byte(`{"expires_at":`+text+`}`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := strings.TrimPrefix(a.said(), "expires ")
		if len(a.oddities) > 0 {
			got += " in no zone"
		}
		if got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{`""`, `"tomorrow"`, `"2030-01-02"`, `"03:04:05"`, `"2030-13-01T00:00:00Z"`, `"2030-01-02T03:04:05 CET"`, `true`, `{}`, `[]`, `[2030,1,2,3,4]`, `3600`, `0`, `-1`, `1e300`, `1e15`, `"NaN"`, `"Inf"`, `"2030-01-02_03:04:05"`} {
		if a, err := parseAnswer(typeConnect, []byte(`{"expires_at":`+text+`}`)); err == nil || !strings.HasPrefix(err.Error(), "expires_at must be a time") {
			t.Errorf("%s is %v: %v", text, a, err)
		}
	}
}

// TestWrongAnswers: what is wrong is said in words of the protocol, and where.
func TestWrongAnswers(t *testing.T) {
	long := `"` + strings.Repeat("x", 257) + `"`
	for _, tt := range []struct{ kind, body, want string }{
		{typeEvent, `<html>`, "the answer must be JSON, or empty"},
		{typeEvent, `{`, "the answer must be JSON, or empty"},
		{typeEvent, `{} {}`, "the answer must be JSON, or empty"},
		{typeEvent, strings.Repeat("[", 100_000), "the answer must be JSON, or empty"},
		{typeEvent, "{\"ack\":[\"\xff\"]}", "the answer must be in UTF-8"},
		{typeEvent, "\xff\xfe{\x00}\x00", "the answer must be in UTF-8"},
		{typeEvent, `"ok"`, "the answer must be an object"},
		{typeEvent, `true`, "the answer must be an object"},
		{typeEvent, `[1]`, "the answer must be an object"},
		{typeConnect, `{"user":{}}`, "user must be a string"},
		{typeConnect, `{"user":true}`, "user must be a string"},
		{typeConnect, `{"user":""}`, "user is empty"},
		{typeConnect, `{"user":` + long + `}`, "user has more than 256 bytes"},
		{typeConnect, `{"data":"x"}`, "data must be an object"},
		{typeConnect, `{"data":[1]}`, "data must be an object"},
		{typeEvent, `{"join":"org:1"}`, "join must be an array"},
		{typeEvent, `{"join":{"a":"b"}}`, "join must be an array"},
		{typeEvent, `{"join":["a",{}]}`, "join[1] must be a string"},
		{typeEvent, `{"join":[["a"]]}`, "join[0] must be a string"},
		{typeEvent, `{"join":[null]}`, "join[0] must be a string"},
		{typeEvent, `{"join":[true]}`, "join[0] must be a string"},
		{typeEvent, `{"join":[""]}`, "join[0] is empty"},
		{typeEvent, `{"leave":[` + long + `]}`, "leave[0] has more than 256 bytes"},
		{typeEvent, `{"join":["a\nb"]}`, "join[0] has control characters"},
		{typeEvent, `{"join":[` + strings.Repeat(`"a",`, 10_000) + `"a"]}`, "join has more than 10000 elements"},
		{typeEvent, `{"ack":{"ok":true}}`, "ack must be an array of arguments; for one that is an object, write [{…}]"},
		{typeEvent, `{"ack":{}}`, "ack must be an array of arguments; for one that is an object, write [{…}]"},
		{typeEvent, `{"ack":"ok"}`, "ack must be an array"},
		{typeEvent, `{"ack":[1,{"$binary":"?"}]}`, "ack[1] is no argument: decoding $binary: illegal base64 data at input byte 0"},
		{typeEvent, `{"emit":{"event":"e"}}`, "emit must be an array"},
		{typeEvent, `{"emit":[null]}`, "emit[0] must be an object"},
		{typeEvent, `{"emit":[{"event":"a"},{"to":["a"]}]}`, "emit[1].event must be a string"},
		{typeEvent, `{"emit":[{"event":"connect"}]}`, `emit[0].event must be another name than "connect", which is Socket.IO's own`},
		{typeEvent, `{"emit":[{"event":"e","to":"a"}]}`, "emit[0].to must be an array"},
		{typeEvent, `{"emit":[{"event":"e","to":["a",{}]}]}`, "emit[0].to[1] must be a string"},
		{typeEvent, `{"emit":[{"event":"e","everyone":true,"to":["a"]}]}`, "emit[0].everyone cannot be true beside to or users; write one of them"},
		{typeEvent, `{"emit":[{"event":"e","everyone":true,"users":[]}]}`, "emit[0].everyone cannot be true beside to or users; write one of them"},
		{typeEvent, `{"emit":[{"event":"e","volatile":"yes"}]}`, "emit[0].volatile must be true or false"},
		{typeEvent, `{"emit":[{"event":"e","args":"x"}]}`, "emit[0].args must be an array"},
		{typeEvent, `{"disconnect":"now"}`, `disconnect must be an object, such as {} or {"reason":"…"}`},
		{typeEvent, `{"disconnect":{"close":"no"}}`, "disconnect.close must be true or false"},
		{typeEvent, `{"disconnect":{"reason":{}}}`, "disconnect.reason must be a string"},
	} {
		a, err := parseAnswer(tt.kind, []byte(tt.body))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.200s is %v: %v\nwant %s", tt.body, a, err, tt.want)
		}
		if _, ok := errors.AsType[*wrongAnswer](err); !ok {
			t.Errorf("%.200s: the error is %T", tt.body, err)
		}
	}
}

// TestBadAnswer: an answer that is wrong is told as that, by its place, and not
// as one that did not come. A client that connects is refused, whatever on_error says.
func TestBadAnswer(t *testing.T) {
	for _, accept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { testBadAnswer(t, accept) })
	}
}

func testBadAnswer(t *testing.T, accept bool) {
	core, logs := observer.New(zap.InfoLevel)
	w := local(t, Options{AcceptOnError: accept, Logger: zap.New(core)}, func(m *message) (int, string) {
		if m.Data.Socket.Namespace == "/" || m.Type != typeConnect {
			return 200, map[string]string{typeEvent: `{"join":[["a"]],"ack":[1]}`}[m.Type]
		}
		return 200, `{"user":"u1","expires_at":"tomorrow"}`
	})
	const want = `[{"error":{"code":"backend_bad_answer","message":"the backend's answer is wrong: join[0] must be a string"}}]`
	c, refused := w.connect(), w.handshake()
	if got := c.ask(t, "e"); got != want {
		t.Errorf("the ack is %s, want %s", got, want)
	}
	_, err := w.hub.Namespace("/tenant-1").Connect(t.Context(), refused, new(client))
	refusal, ok := errors.AsType[*realtime.ConnectError](err)
	if !ok || string(refusal.Data) != `{"code":"backend_bad_answer"}` || !strings.Contains(refusal.Message, "expires_at must be a time") {
		t.Errorf("the client learns %v", err)
	}
	time.Sleep(time.Second) // The log has one line of a kind in a second.
	synctest.Wait()
	var logged []string
	for _, line := range logs.FilterMessage("answer of the backend is wrong").All() {
		fields := line.ContextMap()
		logged = append(logged, fmt.Sprint(fields["type"], " ", fields["socket"], " ", fields["event"]))
	}
	if want := []string{"socket.event " + c.socket.ID() + " e", "socket.connect " + refused.SocketID + " <nil>"}; !slices.Equal(logged, want) {
		t.Errorf("the log has %q, want %q", logged, want)
	}
}

// TestOddAnswers: what is not done, or not as it is written, is logged once.
func TestOddAnswers(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	w := serve(t, Options{Logger: zap.New(core)}, func(m *message) (int, string) {
		switch m.Type {
		case typeConnect:
			return 200, `{"user":"u1","User":"u2","leave":["a"],"rooms":["a"],"later":null,"expires_at":"2999-01-01 00:00:00"}`
		case typeEvent:
			return 200, `{"user":"u2","emit":[{"event":"e","rooms":["a"]},{"event":"f","rooms":["b"]},{"event":"g","except":["a"]}]}`
		}
		return 204, ""
	})
	for range 3 {
		c := w.connect()
		c.ask(t, "e")
		c.ask(t, "e")
	}
	var got []string
	for _, line := range logs.FilterLevelExact(zap.WarnLevel).All() {
		fields := line.ContextMap()
		got = append(got, fmt.Sprint(fields["type"], ": ", fields["what"]))
	}
	slices.Sort(got)
	want := []string{
		`socket.connect: "User" is unknown, and left out; known are error, data, join, emit, disconnect, user, expires_at`,
		`socket.connect: "leave" is unknown, and left out; known are error, data, join, emit, disconnect, user, expires_at`,
		`socket.connect: "rooms" is unknown, and left out; known are error, data, join, emit, disconnect, user, expires_at`,
		`socket.connect: expires_at has no zone, and counts as UTC`,
		`socket.event: "user" is unknown, and left out; known are error, data, join, emit, disconnect, leave, ack`,
		`socket.event: emit[]."rooms" is unknown, and left out; known are event, to, users, except, everyone, namespace, args, volatile`,
		`socket.event: emit[].except is without to, users and everyone, and the event is for the sender`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log has %q, want %q", got, want)
	}
}

// TestNoticesAreBounded: members that are called otherwise each time neither fill
// the log nor memory.
func TestNoticesAreBounded(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	n := newNotices(zap.New(core))
	for i := range 10_000 {
		a, err := parseAnswer(typeEvent, fmt.Appendf(nil, `{"%d%s":1}`, i, strings.Repeat("x", 10_000)))
		if err != nil {
			t.Fatal(err)
		}
		n.write(typeEvent, a.oddities)
	}
	size := 0
	for what := range n.written {
		size += len(what)
	}
	if logs.Len() != maxNotices || size > maxNotices*200 {
		t.Errorf("%d lines, %d bytes kept", logs.Len(), size)
	}
}

// TestConnectDisconnect: an answer to a connect may send the client away again,
// after what it emits.
func TestConnectDisconnect(t *testing.T) {
	w := serve(t, Options{}, func(m *message) (int, string) {
		if m.Type != typeConnect {
			return 204, ""
		}
		return 200, `{"emit":[{"event":"moved","args":["elsewhere"]}],"disconnect":{"reason":"full","close":true}}`
	})
	c := w.connect()
	if got := c.got(); !slices.Equal(got, []string{`moved ["elsewhere"]`, "closed"}) {
		t.Errorf("the client got %q", got)
	}
	if n := len(w.hub.Namespace("/").Sockets()); n != 0 {
		t.Errorf("%d sockets are there", n)
	}
}

// TestErrorInGoodAnswer: a refusal by the body alone does not let the client in.
func TestErrorInGoodAnswer(t *testing.T) {
	body := ""
	w := serve(t, Options{}, func(m *message) (int, string) {
		if m.Type == typeEvent || m.Data.Socket.Namespace != "/" {
			return 200, body
		}
		return 204, ""
	})
	c := w.connect()
	for _, tt := range []struct{ body, connect, event string }{
		{`{"error":{"message":"log in","data":{"why":1}}}`, `log in {"why":1} 403`, `[{"error":{"code":"bad_request","message":"log in"}}]`},
		{`{"error":{"code":42,"message":"no"},"user":"u"}`, `no {"code":"42"} 403`, `[{"error":{"code":"42","message":"no"}}]`},
		{`{"error":"Unauthenticated."}`, `Unauthenticated.  403`, `[{"error":{"code":"bad_request","message":"Unauthenticated."}}]`},
		{`{"error":true}`, `not authorized  403`, `[{"error":{"code":"bad_request","message":"the backend refused the event"}}]`},
		{`{"error":false}`, ``, `[]`}, {`{"error":null}`, ``, `[]`}, {`{"error":[]}`, ``, `[]`}, {`{"error":""}`, ``, `[]`},
	} {
		body = tt.body
		_, err := w.hub.Namespace("/tenant-1").Connect(t.Context(), w.handshake(), new(client))
		got := ""
		if refusal, ok := errors.AsType[*realtime.ConnectError](err); ok {
			got = fmt.Sprintf("%s %s %d", refusal.Message, refusal.Data, refusal.Status)
		}
		if got != tt.connect {
			t.Errorf("%s: the client learns %q, want %q", tt.body, got, tt.connect)
		}
		if got := c.ask(t, "e"); got != tt.event {
			t.Errorf("%s: the ack is %s, want %s", tt.body, got, tt.event)
		}
	}
}

// TestRecipients: in an answer, nobody, the sender and everyone are three things.
func TestRecipients(t *testing.T) {
	emission := ""
	w := serve(t, Options{}, func(m *message) (int, string) {
		switch m.Type {
		case typeConnect:
			return 200, `{"user":"u1","join":["a"]}`
		case typeEvent:
			return 200, `{"emit":[{"event":"e"` + emission + `}]}`
		}
		return 204, ""
	})
	sender, other := w.connect(), w.connect()
	for _, tt := range []struct {
		emission      string
		sender, other int
	}{
		{``, 1, 0},
		{`,"to":null,"users":null,"everyone":null`, 1, 0},
		{`,"everyone":false`, 1, 0},
		{`,"to":[]`, 0, 0},
		{`,"users":[]`, 0, 0},
		{`,"to":[],"users":[]`, 0, 0},
		{`,"to":{}`, 0, 0},
		{`,"to":[],"everyone":false`, 0, 0},
		{`,"to":[],"users":["u1"]`, 1, 1},
		{`,"to":["a"]`, 1, 1},
		{`,"everyone":true`, 1, 1},
		{`,"everyone":true,"except":["` + other.socket.ID() + `"]`, 1, 0},
		{`,"everyone":true,"namespace":"/tenant-1"`, 0, 0},
		{`,"everyone":true,"namespace":"/"`, 1, 1},
	} {
		emission = tt.emission
		sender.ask(t, "e")
		count := func(c *client) int {
			return len(slices.DeleteFunc(c.got(), func(s string) bool { return s != "e []" }))
		}
		if a, b := count(sender), count(other); a != tt.sender || b != tt.other {
			t.Errorf("%s reaches the sender %d times and the other one %d times, want %d and %d", tt.emission, a, b, tt.sender, tt.other)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `null`, `[]`, `{"user":1}`, `{"user":"u","data":{"a":1},"join":["r"],"leave":["q"]}`,
		`{"ack":[{"$binary":"AQI="},null]}`, `{"emit":[{"to":["a"],"users":["u"],"except":["b"],"namespace":"/x","event":"e","args":[1],"volatile":true}]}`,
		`{"emit":[null]}`, "{\"ack\":[\"\xff\"]}", `{"expires_at":"2026-01-01T00:00:00Z","disconnect":{"reason":"r","close":true}}`,
		"\ufeff{\"join\":{\"0\":1.0},\"Emit\":[{\"everyone\":1,\"event\":2}],\"expiresAt\":1893553445}", `{"error":{"code":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []string{typeConnect, typeEvent} {
			a, err := parseAnswer(kind, body)
			if err != nil {
				if _, ok := errors.AsType[*wrongAnswer](err); !ok || len(err.Error()) > 500 {
					t.Errorf("the error is %T %q", err, err)
				}
				continue
			}
			if a == nil {
				t.Fatal("neither an answer nor an error")
			}
			lists := [][]string{a.Join, a.Leave}
			for _, e := range a.Emit {
				lists = append(lists, e.To, e.Users, e.Except)
				if e.Event == "" || realtime.Reserved(e.Event) || e.Everyone && (e.To != nil || e.Users != nil) {
					t.Errorf("%+v can be sent", e)
				}
			}
			for _, name := range slices.Concat(lists...) {
				if name == "" || len(name) > maxName {
					t.Errorf("a room is called %q", name)
				}
			}
			if text := realtime.AppendInlineArgs(nil, a.Ack); !utf8.Valid(text) {
				t.Errorf("a client gets %q", text)
			}
		}
	})
}

func FuzzParseProblem(f *testing.F) {
	for _, seed := range []string{``, `{"error":{"code":"c","message":"m","data":[1]}}`, `{"error":"text"}`, "{\"error\":{\"message\":\"m\",\"data\":\"\xff\"}}", `null`} {
		f.Add(400, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		r := &reply{status: status, body: body}
		if e, ok := errors.AsType[*realtime.Error](r.eventError()); ok && (e.Code == "" || e.Message == "") {
			t.Errorf("a client learns %+v", e)
		}
		if e, ok := errors.AsType[*realtime.ConnectError](r.connectError()); ok && (e.Message == "" || !utf8.Valid(e.Data) || e.Status < http.StatusUnauthorized) {
			t.Errorf("a client learns %+v", e)
		}
	})
}

// TestAnswerLimits: what would break those who get it is wrong, wherever in an
// answer it is.
func TestAnswerLimits(t *testing.T) {
	l := realtime.Limits{}.WithDefaults()
	deep := strings.Repeat("[", 129) + strings.Repeat("]", 129)
	long := `"` + strings.Repeat("x", 200) + `"`
	many := "[" + strings.Repeat("0,", 1000) + "0]"
	rooms := make([]string, 1001)
	for i := range rooms {
		rooms[i] = fmt.Sprintf(`"%d"`, i)
	}
	for body, want := range map[string]string{
		`{"ack":[1,` + deep + `]}`: "ack exceeds the endpoint's limits: depth is 128",
		`{"ack":` + many + `}`:     "ack exceeds the endpoint's limits: arguments is 1000",
		`{"emit":[{"event":"e"},{"event":"e","args":[{"a":` + deep[2:256] + `}]}]}`:     "",
		`{"emit":[{"event":"e"},{"event":"e","to":["a"],"args":[{"a":` + deep + `}]}]}`: "emit[1] exceeds the endpoint's limits: depth is 128",
		`{"emit":[{"event":"e","args":` + many + `}]}`:                                  "emit[0] exceeds the endpoint's limits: arguments is 1000",
		`{"emit":[{"event":` + long + `}]}`:                                             "",
		`{"join":[` + strings.Join(rooms, ",") + `]}`:                                   "join exceeds the endpoint's limits: rooms is 1000",
		`{"join":[` + strings.Join(rooms[1:], ",") + `]}`:                               "",
		`{"ack":[1,` + deep[1:257] + `]}`:                                               "",
	} {
		a, err := parseAnswer(typeEvent, []byte(body))
		if err != nil {
			t.Errorf("%.100s: %v", body, err)
			continue
		}
		err = a.check(l)
		if got := fmt.Sprint(err); err != nil && got != want || err == nil && want != "" {
			t.Errorf("%.100s: %v, want %q", body, err, want)
		}
	}
	w := serve(t, Options{}, func(m *message) (int, string) {
		return 200, map[string]string{typeEvent: `{"ack":[` + deep + `]}`}[m.Type]
	})
	const want = `[{"error":{"code":"backend_bad_answer","message":"the backend's answer is wrong: ack exceeds the endpoint's limits: depth is 128"}}]`
	if got := w.connect().ask(t, "e"); got != want {
		t.Errorf("the ack is %s, want %s", got, want)
	}
}

// A pickyConn notes which of the events are volatile.
type pickyConn struct {
	*client
	volatile map[string]bool
}

func (c *pickyConn) Deliver(m *realtime.Message, _ *realtime.Batch) error {
	c.volatile[m.Event] = m.Volatile
	return nil
}

// TestVolatileAnswers: an event of an answer is volatile if that says so, whoever
// it is for.
func TestVolatileAnswers(t *testing.T) {
	w := local(t, Options{}, func(m *message) (int, string) {
		if m.Type != typeEvent {
			return 204, ""
		}
		return 200, `{"emit":[{"event":"a","volatile":true},{"event":"b"},{"event":"c","everyone":true,"volatile":true},{"event":"d","everyone":true}]}`
	})
	c := &pickyConn{new(client), make(map[string]bool)}
	s, err := w.hub.Namespace("/").Connect(t.Context(), w.handshake(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.socket = s
	c.ask(t, "e")
	for event, want := range map[string]bool{"a": true, "b": false, "c": true, "d": false} {
		if volatile, heard := c.volatile[event]; !heard || volatile != want {
			t.Errorf("event %s: heard %t, volatile %t", event, heard, volatile)
		}
	}
}
