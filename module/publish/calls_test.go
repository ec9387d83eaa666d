package publish

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

func TestEmit(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	one, two, three := a.connect("/", "u1", "a"), a.connect("/", "u2", "a", "b"), a.connect("/", "u1", "7")
	tenant := a.connect("/tenant-1", "u1", "a")
	all := []*client{one, two, three, tenant}
	for _, test := range []struct {
		body string
		want string // who gets it
	}{
		{`{"everyone":true}`, "1110"},
		{`{"namespace":"/","everyone":true}`, "1110"},
		{`{"namespace":"/tenant-1","everyone":true}`, "0001"},
		{`{"namespace":"/tenant-2","everyone":true}`, "0000"},
		{`{"everyone":false,"to":["a"]}`, "1100"},
		{`{"everyone":false,"to":[]}`, "0000"},
		{`{"to":[7.0]}`, "0010"},
		{`{"users":[8],"to":[7]}`, "0010"},
		{`{"to":["a"]}`, "1100"},
		{`{"to":["a","b"]}`, "1100"},
		{`{"to":["nobody is there"]}`, "0000"},
		{`{"to":["` + three.socket.ID() + `"]}`, "0010"},
		{`{"users":["u1"]}`, "1010"},
		{`{"users":["u1","u2"]}`, "1110"},
		{`{"users":["nobody"]}`, "0000"},
		{`{"to":["b"],"users":["u1"]}`, "1110"},
		{`{"to":["a"],"users":["u2"]}`, "1100"},
		{`{"everyone":true,"except":["b"]}`, "1010"},
		{`{"to":["a"],"except":["b"]}`, "1000"},
		{`{"users":["u1"],"except":["` + one.socket.ID() + `","nobody"]}`, "0010"},
		{`{"to":["a"],"except":["a"]}`, "0000"},
		{`{"to":[]}`, "0000"},
		{`{"to":[],"users":[]}`, "0000"},
		{`{"to":[],"users":["u2"]}`, "0100"},
		{`{"everyone":true,"except":[]}`, "1110"},
		{`{"to":` + quoted(append(named("r", 9_999), "a")...) + `}`, "1100"},
		{`{"everyone":true,"except":` + quoted(append(named("r", 9_999), "a")...) + `}`, "0010"},
	} {
		members := strings.TrimPrefix(strings.Replace(test.body, "{}", "{", 1), "{")
		if members = strings.TrimSuffix(members, "}"); members != "" {
			members += ","
		}
		a.emit(`{` + members + `"event":"e"}`)
		var counts []byte
		for _, c := range all {
			counts = strconv.AppendInt(counts, int64(len(c.received())), 10)
		}
		if got := string(counts); got != test.want {
			t.Errorf("%.100s reached %s, want %s", test.body, got, test.want)
		}
	}

	for body, want := range map[string]int{`"everyone":true`: 3, `"to":["a"]`: 2, `"to":[]`: 0} {
		for _, query := range []string{"", "?local=1"} {
			var answer emitted
			a.post("emit"+query, `{"event":"e",`+body+`}`, http.StatusAccepted, &answer)
			if answer.LocalSockets != want || answer.Nodes != 0 {
				t.Errorf("%s: %+v", body, answer)
			}
		}
	}

	ids := make(map[string]bool)
	for range 3 {
		ids[a.emit(`{"event":"e","everyone":true}`)] = true
	}
	if len(ids) != 3 {
		t.Errorf("ids %v", ids)
	}
	one.received()
	// Arguments are passed on byte by byte.
	const args = `[1.50, "<é\u00e9>",{"a" : [null]},12345678901234567890,{"$binary":"AQID"}]`
	a.emit(`{"event":"args","everyone":true,"args":` + args + `}`)
	m := one.messages[0]
	if len(m.Args) != 5 || string(m.Args[0].JSON) != "1.50" || string(m.Args[1].JSON) != `"<é\u00e9>"` || string(m.Args[2].JSON) != `{"a" : [null]}` || m.Volatile || m.Ack != 0 {
		t.Errorf("arguments %v", one.received())
	}
	if data, ok := m.Args[4].AsBytes(); !ok || string(data) != "\x01\x02\x03" {
		t.Errorf("binary %v", m.Args[4])
	}
	one.received()
	a.emit(`{"event":"v","everyone":true,"volatile":true}`)
	if !one.messages[0].Volatile || one.messages[0] != two.messages[len(two.messages)-1] {
		t.Error("the event is not volatile, or not the same object for all")
	}
}

func TestManyRecipients(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	const n = 10_000
	clients := make([]*client, n)
	ids := make([]string, n)
	for i := range clients {
		clients[i] = a.connect("/", fmt.Sprint("u", i/2), "room")
		ids[i] = clients[i].socket.ID()
	}
	for _, body := range []string{
		`{"event":"e","everyone":true}`,
		`{"event":"e","to":["room"]}`,
		`{"event":"e","to":` + quoted(ids...) + `}`,
		`{"event":"e","users":` + quoted(named("u", n/2)...) + `,"to":["room"]}`,
	} {
		a.emit(body)
		for i, c := range clients {
			if got := c.received(); len(got) != 1 {
				t.Fatalf("%.50s: client %d got %v", body, i, got)
			}
		}
	}
	a.refuses(a.call("POST", "emit?ack=1s", `{"event":"e","everyone":true}`), http.StatusBadRequest, "too_many_sockets", "1000 sockets")
	if got := clients[0].received(); len(got) != 0 {
		t.Errorf("what was refused is sent: %v", got)
	}

	// Page by page, while others come and go.
	seen := make(map[string]int)
	path, pages := "sockets?room=room", 0
	for cursor := ""; ; pages++ {
		var page socketPage
		a.get(path+cursor, &page)
		for _, s := range page.Sockets {
			seen[s.ID]++
		}
		if page.Cursor == "" {
			break
		}
		if len(page.Sockets) != realtime.MaxPage {
			t.Errorf("a page has %d sockets", len(page.Sockets))
		}
		cursor = "&cursor=" + url.QueryEscape(page.Cursor)
		clients[pages].socket.HandleDisconnect("transport close")
		a.connect("/", "late", "room")
		// The one that the cursor names goes, too.
		if last, ok := a.hub.Namespace("/").Socket(page.Sockets[realtime.MaxPage-1].ID); ok && pages == 3 {
			last.HandleDisconnect("transport close")
		}
	}
	if pages < 9 {
		t.Errorf("%d pages", pages)
	}
	for i, id := range ids {
		if seen[id] > 1 || seen[id] == 0 && i >= pages {
			t.Fatalf("socket %d was listed %d times", i, seen[id])
		}
	}
	a.change("join", `{"where":{"room":"room"},"rooms":["other"]}`, len(a.hub.Namespace("/").Members("room")))
}

func TestAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := local(t, Options{}, realtime.Options{})
		yes, bytes, silent := a.connect("/", "u1", "room"), a.connect("/", "u2", "room"), a.connect("/", "u3", "room")
		yes.answer = []realtime.Arg{realtime.String("<yes>"), realtime.String("é")}
		bytes.answer = []realtime.Arg{realtime.Bytes([]byte{1, 2, 3})}
		var got answered
		a.post("emit?ack=100ms", `{"event":"question","to":["room"]}`, http.StatusOK, &got)
		slices.SortFunc(got.Responses, func(x, y response) int { return strings.Compare(string(y.Args), string(x.Args)) })
		if len(got.Responses) != 2 || got.Responses[1].Socket != yes.socket.ID() || string(got.Responses[1].Args) != `["<yes>","é"]` ||
			got.Responses[0].Socket != bytes.socket.ID() || string(got.Responses[0].Args) != `[{"$binary":"AQID"}]` {
			t.Errorf("responses %s", got.Responses)
		}
		equal(t, "missing", got.Missing, []string{silent.socket.ID()})
		// As soon as all have answered.
		silent.answer = []realtime.Arg{}
		began := time.Now()
		a.post("emit?ack=30s", `{"event":"question","users":["u3"]}`, http.StatusOK, &got)
		if took := time.Since(began); took > 0 {
			t.Errorf("all had answered, and it took %v", took)
		}
		if len(got.Responses) != 1 || string(got.Responses[0].Args) != "[]" || len(got.Missing) != 0 {
			t.Errorf("answered %+v", got)
		}
		for _, nobody := range []string{`"to":[]`, `"to":["nobody"]`, `"everyone":true,"namespace":"/tenant-9"`} {
			if got := a.call("POST", "emit?ack=30s", `{"event":"e",`+nobody+`}`); got.body != `{"responses":[],"missing":[]}` {
				t.Errorf("%s: %d %s", nobody, got.status, got.body)
			}
		}
	})
}

func TestChanges(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	one, two, three := a.connect("/", "u1", "a"), a.connect("/", "u2", "a"), a.connect("/tenant-1", "u1", "a")
	id := one.socket.ID()
	for _, test := range []struct {
		where   string
		sockets int
	}{
		{`"socket":"` + id + `"`, 1},
		{`"socket":"` + id + `","user":"u1","room":"a","namespace":"/"`, 1},
		{`"socket":"` + id + `","user":"u2"`, 0},
		{`"socket":"` + id + `","room":"b"`, 0},
		{`"socket":"` + id + `","namespace":"/tenant-1"`, 0},
		{`"socket":"nobody"`, 0},
		{`"user":"u1"`, 2},
		{`"user":"u1","namespace":"/"`, 1},
		{`"user":7`, 0},
		{`"user":"u1","room":"a"`, 2},
		{`"user":"u1","room":"` + id + `"`, 1},
		{`"room":"a"`, 3},
		{`"room":"` + id + `"`, 1},
		{`"room":"nobody"`, 0},
		{`"namespace":"/"`, 2},
		{`"namespace":"/tenant-9"`, 0},
		{`"user":["u1","u2",7]`, 3},
		{`"user":[]`, 0},
		{`"user":[],"room":"a"`, 0},
		{`"room":["a","` + id + `"]`, 3},
		{`"socket":["` + id + `","nobody"]`, 1},
		{`"namespace":["/","/tenant-1","/tenant-9"]`, 3},
		{`"room":"a","except":["` + id + `"]`, 2},
		{`"room":"a","except":["a"]`, 0},
		{`"room":"a","except":[]`, 3},
		{`"room":"a","not":{"user":"u1"}`, 1},
		{`"room":"a","not":{"user":["u1","u2"],"namespace":"/"}`, 1},
		{`"room":"a","not":{"user":[]}`, 3},
	} {
		a.change("data", `{"where":{`+test.where+`},"patch":{}}`, test.sockets)
	}

	a.change("join", `{"where":{"user":"u1"},"rooms":["b","c"]}`, 2)
	equal(t, "rooms", one.socket.Rooms(), []string{"a", "b", "c"})
	equal(t, "rooms", two.socket.Rooms(), []string{"a"})
	equal(t, "rooms", three.socket.Rooms(), []string{"a", "b", "c"})
	a.change("leave", `{"where":{"room":"b"},"rooms":["b","a","never joined"]}`, 2)
	equal(t, "rooms", one.socket.Rooms(), []string{"c"})
	equal(t, "rooms", three.socket.Rooms(), []string{"c"})

	a.change("data", `{"where":{"socket":"`+id+`"},"patch":{"role":"admin","n":1.0}}`, 1)
	if data := one.socket.Data(); string(data["of"]) != `"u1"` || string(data["role"]) != `"admin"` || string(data["n"]) != "1.0" {
		t.Errorf("data %s", data)
	}

	a.change("disconnect", `{"where":{"user":"u1","namespace":"/"},"reason":"too loud"}`, 1)
	a.change("disconnect", `{"where":{"room":"a"},"close":true}`, 1)
	a.change("disconnect", `{"where":{"room":"a"},"close":true}`, 0)
	equal(t, "left", one.left, []bool{false})
	equal(t, "left", two.left, []bool{true})
	equal(t, "left", three.left, nil)
}

func TestBatch(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "u1")
	got := a.call("POST", "batch", `{"commands":[
		{"emit":{"event":"first","to":["room"]}},
		{"join":{"where":{"user":"u1"},"rooms":["room"]}},
		{"emit":{"event":"second","to":["room"]}},
		{"emit":{"event":"connect"}},
		{"emit":{"event":"third","everyone":true,"colour":"red"}},
		{"emit":null},
		{},
		[],
		{"shout":{}},
		{"emit":{"event":"e"},"join":{}},
		{"leave":{"where":{"user":""},"rooms":["room"]}},
		{"data":{"where":{"user":"u1"},"patch":{"n":1}}},
		{"emit":{"event":"fourth","users":["u1"]}},
		{"disconnect":{"where":{"user":"u1"}}},
		{"emit":{"event":"fifth","everyone":true}},
		{"emit":{"event":"sixth"}}
	]}`)
	var answer struct {
		Results []struct {
			ID      string
			Sockets *int
			Error   *Problem
		}
	}
	a.decode(got, "batch", http.StatusOK, &answer)
	var outcomes []string
	for _, r := range answer.Results {
		switch {
		case r.ID != "":
			outcomes = append(outcomes, "id")
		case r.Sockets != nil:
			outcomes = append(outcomes, strconv.Itoa(*r.Sockets))
		case r.Error != nil:
			outcomes = append(outcomes, r.Error.Code+": "+r.Error.Message)
		}
	}
	equal(t, "results", outcomes, []string{
		"id", "1", "id",
		`reserved_name: the event name "connect" is Socket.IO's own`,
		`unknown_field: commands[4].emit has no field "colour"; it can have args, event, everyone, except, namespace, to, users, volatile`,
		"bad_field: commands[5].emit must not be null; leave it out",
		"bad_field: commands[6] has no command",
		"bad_field: commands[7] must be an object",
		`unknown_field: commands[8] has no field "shout"; it can have data, disconnect, emit, join, leave`,
		"bad_field: commands[9] has more than one command; each is an object of its own",
		"bad_field: commands[10].leave.where.user is empty",
		"1", "id", "1", "id",
		`bad_field: commands[15].emit says nobody to send the event to; write to or users, or "everyone": true for all sockets of the namespace`,
	})
	equal(t, "events", c.received(), []string{"second []", "fourth []"})
	if c.batches[0] == nil || c.batches[0] != c.batches[1] {
		t.Error("what one client gets leaves in several writes")
	}
}

func TestListings(t *testing.T) {
	before := time.Now().Add(-time.Millisecond)
	a := serve(t, Options{}, realtime.Options{Name: "hub", Node: "node"})
	one := a.connect("/", "u1", "org:1", "a/b")
	nobody := a.connect("/", "", "org:1")
	a.connect("/", "u1", "org:1")
	tenant := a.connect("/tenant-1", "u2", "a/b", "ö?#%2F")
	a.hub.Namespace("/hidden") // no namespace of the endpoint

	var page socketPage
	a.get("sockets?user=u1&room=a/b", &page)
	if len(page.Sockets) != 1 || page.Cursor != "" {
		t.Fatalf("page %+v", page)
	}
	s := page.Sockets[0]
	if s.ID != one.socket.ID() || s.Session != "session" || s.Node != "node" || s.Namespace != "/" || *s.User != "u1" ||
		fmt.Sprint(s.Rooms) != "[a/b org:1]" || string(s.Data["of"]) != `"u1"` || s.ConnectedAt.Before(before) || s.ConnectedAt.After(time.Now()) {
		t.Errorf("socket %+v", s)
	}
	for query, want := range map[string]int{"": 4, "?room=org:1": 3, "?room=a/b": 2, "?namespace=/": 3, "?namespace=/tenant-1": 1, "?user=u3": 0, "?namespace=/tenant-9": 0, "?room=" + nobody.socket.ID(): 1} {
		var page socketPage
		a.get("sockets"+query, &page)
		if len(page.Sockets) != want || page.Sockets == nil {
			t.Errorf("%q: %d sockets, want %d", query, len(page.Sockets), want)
		}
	}
	a.get("sockets?room="+nobody.socket.ID(), &page)
	if s := page.Sockets[0]; s.User != nil {
		t.Errorf("user %q", *s.User)
	}

	if got := a.call("GET", "rooms", ""); got.body != `{"rooms":[{"namespace":"/","room":"a/b","sockets":1},{"namespace":"/","room":"org:1","sockets":3},`+
		`{"namespace":"/tenant-1","room":"a/b","sockets":1},{"namespace":"/tenant-1","room":"ö?#%2F","sockets":1}]}` {
		t.Errorf("rooms %s", got.body)
	}
	if got := a.call("GET", "rooms?namespace=/tenant-9", ""); got.body != `{"rooms":[]}` {
		t.Errorf("rooms %s", got.body)
	}
	for path, want := range map[string]string{
		"rooms/org:1/presence":                                          `{"users":["u1"],"sockets":3}`,
		"rooms/org%3A1/presence":                                        `{"users":["u1"],"sockets":3}`,
		"rooms/a%2Fb/presence":                                          `{"users":["u1"],"sockets":1}`,
		"rooms/a%2fb/presence?namespace=/tenant-1":                      `{"users":["u2"],"sockets":1}`,
		"rooms/%C3%B6%3F%23%252F/presence?namespace=%2Ftenant-1":        `{"users":["u2"],"sockets":1}`,
		"rooms/nobody/presence":                                         `{"users":[],"sockets":0}`,
		"rooms/org:1/presence?namespace=/tenant-9":                      `{"users":[],"sockets":0}`,
		"rooms/" + nobody.socket.ID() + "/presence":                     `{"users":[],"sockets":1}`,
		"rooms/" + tenant.socket.ID() + "/presence?namespace=/tenant-1": `{"users":["u2"],"sockets":1}`,
	} {
		if got := a.call("GET", path, ""); got.body != want {
			t.Errorf("%s: %s, want %s", path, got.body, want)
		}
	}
	var stats realtime.Stats
	a.get("stats", &stats)
	if stats.Hub != "hub" || stats.Node != "node" || stats.Sockets != 4 || stats.Rooms != 4 {
		t.Errorf("stats %+v", stats)
	}
}

// Rooms are turned by pages, too.
func TestManyRooms(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	rooms := named("room", 2500)
	for len(rooms) > 0 { // one socket can be in 1000
		n := min(len(rooms), 1000)
		a.connect("/", "u1", rooms[:n]...)
		rooms = rooms[n:]
	}
	var names []string
	for cursor := ""; ; {
		var page roomPage
		a.get("rooms"+cursor, &page)
		for _, r := range page.Rooms {
			names = append(names, r.Room)
		}
		if page.Cursor == "" {
			break
		}
		cursor = "?cursor=" + page.Cursor
	}
	want := named("room", 2500)
	slices.Sort(want)
	equal(t, "rooms", names, want)
}

// TestAnswersExpand has clients name the one attachment of their answer as often as
// a client can: in plain JSON it is there each time.
func TestAnswersExpand(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	const clients = 4
	placeholders := strings.Repeat(`{"_placeholder":true,"num":0},`, 19) + `{"_placeholder":true,"num":0}`
	for range clients {
		c := a.connect("/", "", "room")
		c.answer = []realtime.Arg{{JSON: json.RawMessage("[" + placeholders + "]"), Binary: [][]byte{make([]byte, 500_000)}}}
	}
	var got struct {
		Responses []json.RawMessage
		Missing   []string
	}
	if r := a.call("POST", "emit?ack=30s", `{"to":["room"],"event":"e"}`); r.status != 200 || len(r.body) > 17<<20 || json.Unmarshal([]byte(r.body), &got) != nil {
		t.Fatalf("answered %d with %d bytes", r.status, len(r.body))
	}
	if len(got.Responses) != 1 || len(got.Missing) != clients-1 {
		t.Errorf("%d responses, and %d are missing", len(got.Responses), len(got.Missing))
	}
}

// TestEmitLimits: an event that would break the clients that get it is refused.
func TestEmitLimits(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "", "room")
	deep := strings.Repeat("[", 129) + strings.Repeat("]", 129)
	for args, want := range map[string]string{
		deep[1:257]: "", deep: "depth", strings.Repeat("0,", realtime.Limits{}.WithDefaults().Arguments-1) + "0": "", strings.Repeat("0,", realtime.Limits{}.WithDefaults().Arguments) + "0": "arguments",
	} {
		for _, query := range []string{"", "?ack=10ms"} {
			r := a.call("POST", "emit"+query, `{"to":["room"],"event":"e","args":[`+args+`]}`)
			if want == "" && r.status/100 != 2 || want != "" && (r.status != http.StatusBadRequest || !strings.Contains(r.body, want)) {
				t.Errorf("%s %.20s: answered %d %s, want %q", query, args, r.status, r.body, want)
			}
		}
	}
	if n := len(c.received()); n != 4 {
		t.Errorf("%d events arrived", n)
	}
}

// TestJoinLimit: a socket is not in more rooms than it can be, and who asks for that
// learns it.
func TestJoinLimit(t *testing.T) {
	a := serve(t, Options{}, realtime.Options{})
	c := a.connect("/", "u1", named("room", 999)...)
	a.change("join", `{"where":{"user":"u1"},"rooms":["room1","last"]}`, 1)
	a.change("join", `{"where":{"user":"u1"},"rooms":["room1","last"]}`, 1)
	a.refuses(a.call("POST", "sockets/join", `{"where":{"user":"u1"},"rooms":["room1","more"]}`), http.StatusBadRequest, "too_many_rooms", "1000")
	if rooms := c.socket.Rooms(); len(rooms) != 1000 || slices.Contains(rooms, "more") {
		t.Errorf("the socket is in %d rooms", len(rooms))
	}
}
