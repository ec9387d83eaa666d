package publish

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/caddy-realtime/caddy-realtime/module/emission"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// bodyOf returns the body of an emit that says the same.
func bodyOf(t *testing.T, e *emission.Emission) []byte {
	t.Helper()
	body := map[string]any{"namespace": e.Namespace, "event": e.Event, "volatile": e.Volatile, "args": json.RawMessage(realtime.AppendInlineArgs(nil, e.Args))}
	if e.Everyone {
		body["everyone"] = true
	}
	for name, list := range map[string][]string{"to": e.To, "users": e.Users, "except": e.Except} {
		if list != nil {
			body[name] = list
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// FuzzRequest has bodies of every call: what is taken is as the description
// says, and none does harm.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		`{"event":"e"}`,
		`{"event":"e","everyone":true}`,
		`{"event":"e","to":[1,2.50],"everyone":false}`,
		`{"namespace":"/","to":["a"],"users":[],"except":["b"],"event":"é","args":[1.0,{"$binary":"AQID"},[null,"\ud800"]],"volatile":true}`,
		`{"event":"e","to":null}`,
		`{"event":"e","event":"f"}`,
		`{"event":"connect"}`,
		`{"where":{"socket":"s","user":"u","room":"r","namespace":"/"},"rooms":["a"],"patch":{"a":null},"reason":"r","close":true}`,
		`{"where":{"socket":["s",1],"user":[],"room":"r","except":["x"],"not":{"room":["a","b"],"namespace":"/"}},"rooms":["a"],"patch":{}}`,
		`{"commands":[{"emit":{"event":"e"}},{"join":{"where":{"user":"u"},"rooms":["a"]}},{},[],null]}`,
		`{"everyone":true,"args":[{"_placeholder":true,"num":0},{"$binary":"AA=="}],"event":"e"}`,
		strings.Repeat(`{"where":`, 100),
	} {
		f.Add([]byte(body))
	}
	a := serve(f, Options{}, realtime.Options{})
	h := NewHandler(a.endpoint, Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := describeAPI()
		if err != nil {
			t.Fatal(err)
		}
		if problem := checkText(body); problem != nil {
			if problem.Status != 400 || len(problem.Message) > 500 {
				t.Errorf("%+v", problem)
			}
			return
		}
		if e, problem := parseEmission("", body, a.endpoint.Limits()); problem == nil {
			if err := valid(d.schema(t, "#/components/schemas/Emit"), string(body)); err != nil {
				t.Errorf("taken, and yet %v", err)
			}
			for _, list := range [][]string{e.To, e.Users, e.Except, {e.Event}} {
				for _, name := range list {
					if name == "" || len(name) > MaxName || strings.ContainsFunc(name, unicode.IsControl) {
						t.Errorf("the name %q is taken", name)
					}
				}
			}
			if again, problem := parseEmission("", bodyOf(t, e), a.endpoint.Limits()); problem != nil || !reflect.DeepEqual(plain(e), plain(again)) {
				t.Errorf("%+v became %+v: %v", e, again, problem)
			}
		}
		for name := range changes {
			if _, problem := h.change(t.Context(), a.hub.Nodes(), name, "", body); problem == nil {
				schema := "#/components/schemas/" + strings.ToUpper(name[:1]) + name[1:]
				if err := valid(d.schema(t, schema), string(body)); err != nil {
					t.Errorf("%s: taken, and yet %v", name, err)
				}
			} else if len(problem.Message) > 1000 {
				t.Errorf("%s: %d bytes of message", name, len(problem.Message))
			}
		}
		status, answer, problem := h.batch(t.Context(), &request{body: body})
		if problem == nil {
			if err := d.checkBatch(t, string(body), string(encode(answer))); status != 200 || err != nil {
				t.Errorf("batch: %d %v: %v", status, answer, err)
			}
		}
	})
}

// plain returns what an emission says, with its arguments as plain JSON that is
// as compact as bodyOf leaves it.
func plain(e *emission.Emission) emission.Emission {
	c := *e
	c.Args = nil
	for _, arg := range e.Args {
		var value any
		_ = json.Unmarshal(arg.AppendInline(nil), &value)
		text, _ := realtime.JSON(value)
		c.Args = append(c.Args, text)
	}
	return c
}
