package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/caddy-realtime/caddy-realtime/module/cluster"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// A description is openapi.yaml, as far as the tests hold the handler against it.
type description struct {
	root      map[string]any
	compiler  *jsonschema.Compiler
	templates map[string]*regexp.Regexp // of paths

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
}

// describe reads it once.
var describeAPI = sync.OnceValues(func() (*description, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	var document any
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if place := empty(document, "#"); place != "" {
		return nil, fmt.Errorf("%s is nothing: put the text that has a comma between quotes", place)
	}
	closeAnswers(document.(map[string]any))
	plain, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	if document, err = jsonschema.UnmarshalJSON(bytes.NewReader(plain)); err != nil {
		return nil, err
	}
	d := &description{root: document.(map[string]any), compiler: jsonschema.NewCompiler(), templates: make(map[string]*regexp.Regexp), schemas: make(map[string]*jsonschema.Schema)}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource("openapi.yaml", document); err != nil {
		return nil, err
	}
	for path := range d.root["paths"].(map[string]any) {
		d.templates[path] = regexp.MustCompile("^" + strings.ReplaceAll(path, "{room}", "([^/]*)") + "$")
	}
	return d, nil
})

// empty returns where a document has a member without a value, as a comma makes
// one in { description: this, and that }; "" if nowhere.
func empty(node any, place string) string {
	switch node := node.(type) {
	case nil:
		return place
	case map[string]any:
		for name, value := range node {
			if found := empty(value, place+"/"+name); found != "" {
				return found
			}
		}
	case []any:
		for i, value := range node {
			if found := empty(value, fmt.Sprint(place, "/", i)); found != "" {
				return found
			}
		}
	}
	return ""
}

// closeAnswers makes every object refuse what is not described. Callers are to
// ignore what they do not know; the tests are not.
func closeAnswers(node map[string]any) {
	if _, described := node["properties"]; described && node["type"] == "object" && node["additionalProperties"] == nil {
		node["additionalProperties"] = false
	}
	for _, value := range node {
		switch value := value.(type) {
		case map[string]any:
			closeAnswers(value)
		case []any:
			for _, item := range value {
				if object, ok := item.(map[string]any); ok {
					closeAnswers(object)
				}
			}
		}
	}
}

// at follows a JSON pointer, and references on the way.
func (d *description) at(pointer string) (value any, place string) {
	var node any = d.root
	place = "#"
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "#/"), "/") {
		object, ok := node.(map[string]any)
		if !ok {
			return nil, ""
		}
		node = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
		place += "/" + name
		if object, ok := node.(map[string]any); ok && !strings.Contains(place, "/schemas/") {
			if reference, ok := object["$ref"].(string); ok {
				node, place = d.at(reference)
			}
		}
	}
	return node, place
}

// schema returns the compiled schema at a place, and nil if there is none.
func (d *description) schema(t testing.TB, pointer string) *jsonschema.Schema {
	t.Helper()
	value, place := d.at(pointer)
	if value == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.schemas[place] == nil {
		schema, err := d.compiler.Compile("openapi.yaml" + strings.ReplaceAll(strings.ReplaceAll(place, "{", "%7B"), "}", "%7D"))
		if err != nil {
			t.Fatalf("the schema at %s: %v", place, err)
		}
		d.schemas[place] = schema
	}
	return d.schemas[place]
}

func escape(path string) string { return strings.ReplaceAll(path, "/", "~1") }

// valid reports what is wrong with a text by a schema.
func valid(schema *jsonschema.Schema, text string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// hold holds a request and its answer against the description: what it does not
// allow must have been refused, and every answer is one that it has.
func (a *api) hold(r *http.Request, body string, got reply) {
	a.t.Helper()
	d, err := describeAPI()
	if err != nil {
		a.t.Fatal(err)
	}
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/api/realtime")
	template := ""
	for candidate, pattern := range d.templates {
		if pattern.MatchString(path) {
			template = candidate
		}
	}
	failure := d.schema(a.t, "#/components/schemas/Failure")
	if template == "" {
		if err := valid(failure, got.body); err != nil || got.status != http.StatusNotFound && got.status != http.StatusUnauthorized {
			a.t.Errorf("%s is not described, and answered %d %s: %v", path, got.status, got.body, err)
		}
		return
	}
	item := d.root["paths"].(map[string]any)[template].(map[string]any)
	method := strings.ToLower(r.Method)
	described := item[method] != nil
	if !described { // the one that there is says how it refuses others
		for method = range item {
		}
	}
	operation := "#/paths/" + escape(template) + "/" + method
	answer := fmt.Sprintf("%s/responses/%d", operation, got.status)
	if value, _ := d.at(answer); value == nil {
		a.t.Errorf("%s %s answers %d, which is not described", r.Method, path, got.status)
		return
	}
	a.covered[fmt.Sprintf("%s %s %d", strings.ToUpper(method), template, got.status)] = true
	if err := valid(d.schema(a.t, answer+"/content/application~1json/schema"), got.body); err != nil {
		a.t.Errorf("%s %s answers %d %.300s: %v", r.Method, path, got.status, got.body, err)
	}
	if got.header.Get("Content-Type") != "application/json" || got.header.Get("Access-Control-Allow-Origin") != "" {
		a.t.Errorf("%s %s: headers %v", r.Method, path, got.header)
	}
	headers, _ := d.at(answer + "/headers")
	for name := range asObject(headers) {
		text, err := json.Marshal(got.header.Get(name))
		if err != nil {
			a.t.Fatal(err)
		}
		if err := valid(d.schema(a.t, answer+"/headers/"+name+"/schema"), string(text)); err != nil {
			a.t.Errorf("%s %s: header %s: %v", r.Method, path, name, err)
		}
	}
	wrong := !described
	if template == "/batch" && got.status == http.StatusOK {
		if err := d.checkBatch(a.t, body, got.body); err != nil {
			a.t.Errorf("%.300s is answered %.300s: %v", body, got.body, err)
		}
	} else if schema := d.schema(a.t, operation+"/requestBody/content/application~1json/schema"); schema != nil {
		wrong = wrong || valid(schema, strings.TrimPrefix(body, "\ufeff")) != nil
	}
	for _, problem := range d.parameterProblems(a.t, operation, r) {
		wrong = wrong || problem
	}
	if wrong && got.status < 400 {
		a.t.Errorf("%s %s %.300s is not as described, and answered %d", r.Method, r.URL, body, got.status)
	}
	if !wrong && (strings.Contains(got.body, `"unknown_field"`) || strings.Contains(got.body, `"unknown_parameter"`)) && template != "/batch" {
		a.t.Errorf("%s %s %.300s is as described, and answered %s", r.Method, r.URL, body, got.body)
	}
}

// checkBatch holds the commands of a batch that has been done against the
// description: what is not a command has an error for a result.
func (d *description) checkBatch(t testing.TB, body, answer string) error {
	t.Helper()
	var asked struct{ Commands []json.RawMessage }
	var got struct{ Results []json.RawMessage }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(body, "\ufeff")), &asked); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		return err
	}
	if n := len(asked.Commands); n == 0 || n > MaxCommands || n != len(got.Results) {
		return fmt.Errorf("%d commands, and %d results", n, len(got.Results))
	}
	command, failure := d.schema(t, "#/components/schemas/Command"), d.schema(t, "#/components/schemas/Failure")
	for i, text := range asked.Commands {
		wrong := valid(command, string(text))
		if wrong != nil && valid(failure, string(got.Results[i])) != nil {
			return fmt.Errorf("%s is done: %w", text, wrong)
		}
		if wrong == nil && strings.Contains(string(got.Results[i]), `"unknown_field"`) {
			return fmt.Errorf("%s is a command, and not known", text)
		}
	}
	return nil
}

// parameterProblems returns for each parameter that there is or should be
// whether it is not as described.
func (d *description) parameterProblems(t testing.TB, operation string, r *http.Request) []bool {
	t.Helper()
	var problems []bool
	known := make(map[string]bool)
	list, _ := d.at(operation + "/parameters")
	items, _ := list.([]any)
	for _, item := range items {
		place, parameter := operation, asObject(item)
		if reference, ok := parameter["$ref"].(string); ok {
			value, at := d.at(reference)
			place, parameter = at, asObject(value)
		}
		name := parameter["name"].(string)
		var values []string
		switch parameter["in"] {
		case "query":
			known[name] = true
			values = r.URL.Query()[name]
		case "header":
			values = r.Header.Values(name)
		}
		if place == operation {
			continue // checked by the schema it refers to, or the handler's own tests
		}
		for _, value := range values {
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			problems = append(problems, valid(d.schema(t, place+"/schema"), string(text)) != nil)
		}
	}
	for name := range r.URL.Query() {
		problems = append(problems, !known[name])
	}
	return problems
}

func asObject(value any) map[string]any {
	object, _ := value.(map[string]any)
	return object
}

// TestOpenAPI holds the calls against the description, and has each of its
// answers once.
func TestOpenAPI(t *testing.T) {
	d, err := describeAPI()
	if err != nil {
		t.Fatal(err)
	}
	var described, built []string
	for path, item := range d.root["paths"].(map[string]any) {
		for method, operation := range asObject(item) {
			line := strings.ToUpper(method) + " " + strings.TrimPrefix(path, "/")
			list, _ := asObject(operation)["parameters"].([]any)
			var names []string
			for _, parameter := range list {
				if reference, ok := asObject(parameter)["$ref"].(string); ok {
					parameter, _ = d.at(reference)
				}
				if asObject(parameter)["in"] == "query" {
					names = append(names, asObject(parameter)["name"].(string))
				}
			}
			slices.Sort(names)
			described = append(described, fmt.Sprint(line, names))
		}
	}
	for path, c := range calls {
		built = append(built, fmt.Sprint(c.method+" "+path, slices.Sorted(slices.Values(append(slices.Clip(c.parameters), "local")))))
	}
	slices.Sort(described)
	slices.Sort(built)
	equal(t, "calls", built, described)
	for name, newChange := range changes {
		fields := []string{"where"}
		for field := range newChange().members() {
			fields = append(fields, field)
		}
		schema, _ := d.at("#/components/schemas/" + strings.ToUpper(name[:1]) + name[1:])
		var properties []string
		for property := range asObject(asObject(schema)["properties"]) {
			properties = append(properties, property)
		}
		slices.Sort(fields)
		slices.Sort(properties)
		equal(t, name, fields, properties)
	}

	a := serve(t, Options{}, realtime.Options{Broker: brokenBroker{}})
	a.hub.SetStats(func(s *realtime.Stats) {
		s.Connections, s.Transports = 1, map[string]int{"polling": 1}
		s.Backend = &realtime.BackendStats{Requests: map[string]realtime.RequestStats{"socket.event": {Count: 1, Total: time.Millisecond / 2, Max: time.Millisecond / 2}}}
	})
	a.connect("/", "u1", "room").answer = []realtime.Arg{realtime.String("yes")}
	bodies := map[string]string{
		"emit":               `{"namespace":"/","to":["room"],"users":["u1"],"except":["nobody"],"event":"e","args":[1,{"$binary":"AQID"}],"volatile":true}`,
		"batch":              `{"commands":[{"emit":{"event":"e","to":[]}},{"join":{"where":{"user":"u1"},"rooms":["room"]}},{"nothing":{}}]}`,
		"sockets/join":       `{"where":{"user":"u1"},"rooms":["more"]}`,
		"sockets/leave":      `{"where":{"namespace":"/","room":"more"},"rooms":["more"]}`,
		"sockets/data":       `{"where":{"socket":"nobody"},"patch":{"role":null}}`,
		"sockets/disconnect": `{"where":{"user":"nobody"},"reason":"because","close":true}`,
	}
	for path, c := range calls {
		query := strings.ReplaceAll(path, "{room}", "room")
		if c.method == http.MethodGet {
			a.get(query, nil)
			a.call("GET", query+"?colour=red", "")
			a.call("POST", query, "{}")
		} else {
			body := bodies[path]
			a.call("POST", path+map[string]string{"emit": "?ack=30s"}[path], body, "Idempotency-Key", path)
			a.call("POST", path, strings.Replace(body, "{", `{"colour":"red",`, 1))
			a.call("POST", path, `{"x`+strings.Repeat("x", MaxBody))
			a.call("POST", path, body, "Content-Type", "text/plain")
			a.call("POST", path, "{}", "Idempotency-Key", path)
			a.call("GET", path, "")
			u := "/api/realtime/" + path
			mine, _, _ := a.answers.begin("in-flight-"+path, fingerprintOf(t, u, body))
			a.call("POST", path, body, "Idempotency-Key", "in-flight-"+path)
			a.answers.finish(mine, 0, nil)
		}
		a.call(c.method, query, bodies[path], "Authorization", "Bearer nobody")
	}
	awaitBroken(t, a.hub)
	a.call("POST", "emit", `{"event":"e","users":["nobody"]}`) // 503
	a.call("POST", "emit", `{"event":"e","to":[]}`)
	if _, _, err := a.hub.Seal(); err != nil {
		t.Fatal(err)
	}
	for path, body := range bodies {
		if strings.HasPrefix(path, "sockets/") {
			a.call("POST", path, body) // 503
		}
	}
	for path, item := range d.root["paths"].(map[string]any) {
		for method, operation := range asObject(item) {
			for status := range asObject(asObject(operation)["responses"]) {
				if line := fmt.Sprint(strings.ToUpper(method), " ", path, " ", status); !a.covered[line] {
					t.Errorf("%s is described, and never answered", line)
				}
			}
		}
	}
	commands := asObject(asObject(asObject(asObject(d.root["components"])["schemas"])["Command"])["properties"])
	for name, body := range bodies {
		if name == "batch" {
			continue
		}
		name = strings.TrimPrefix(name, "sockets/")
		if err := valid(d.schema(t, "#/components/schemas/Command"), `{"`+name+`":`+body+`}`); err != nil || commands[name] == nil {
			t.Errorf("the command %s: %v", name, err)
		}
	}
	if len(commands) != len(bodies)-1 {
		t.Errorf("%d commands are described", len(commands))
	}
}

// TestOpenAPICanFail plants differences between the description and what is said.
func TestOpenAPICanFail(t *testing.T) {
	d, err := describeAPI()
	if err != nil {
		t.Fatal(err)
	}
	for pointer, texts := range map[string][]string{
		"#/components/schemas/Emit":       {`{}`, `{"event":"connect"}`, `{"event":""}`, `{"event":"e","Event":"e"}`, `{"event":"e","to":"room"}`, `{"event":"e","to":null}`, `{"event":"a\nb"}`, `{"event":"e","everyone":true,"to":["a"]}`, `{"event":"e","everyone":true,"users":[]}`, `{"event":"e","everyone":false}`, `{"event":"e","to":[true]}`},
		"#/components/schemas/Join":       {`{"where":{},"rooms":["a"]}`, `{"where":{"user":"u"}}`, `{"where":{"user":"u"},"rooms":[]}`},
		"#/components/schemas/Batch":      {`{}`, `{"commands":[]}`, `{"commands":[{}]}`, `{"commands":[{"shout":{}}]}`, `{"commands":[{"emit":{"event":"e"}}]}`, `{"commands":[{"emit":{"event":"e","to":[]},"leave":{}}]}`},
		"#/components/schemas/Failure":    {`{}`, `{"error":{"code":"x"}}`, `{"error":{"code":"x","message":"y","more":1}}`},
		"#/components/schemas/SocketPage": {`{"sockets":[{"id":"x"}]}`, `{"sockets":[],"more":1}`},
		"#/components/schemas/Results":    {`{"results":[{"sockets":1,"id":"x"}]}`, `{"results":[{}]}`},
	} {
		for _, text := range texts {
			if valid(d.schema(t, pointer), text) == nil {
				t.Errorf("%s allows %s", pointer, text)
			}
		}
	}
}

// A brokenBroker reaches nobody.
type brokenBroker struct{}

func (brokenBroker) Publish(context.Context, cluster.Envelope) error { return cluster.ErrClosed }
func (brokenBroker) Close() error                                    { return nil }

func (b brokenBroker) Subscribe(context.Context, string, func(cluster.Envelope)) (cluster.Subscription, error) {
	return b, nil
}

// awaitBroken returns when a hub knows that its broker is broken.
func awaitBroken(t *testing.T, h *realtime.Hub) {
	t.Helper()
	for begin := time.Now(); !errors.Is(h.Namespace("/").To("nobody").Emit(t.Context(), "e"), realtime.ErrLocalOnly); runtime.Gosched() {
		if time.Since(begin) > time.Minute {
			t.Fatal("a broken broker is not noticed")
		}
	}
}

// fingerprintOf is what a request to a URL is known by.
func fingerprintOf(t *testing.T, target, body string) digest {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return fingerprint(u, []byte(body))
}
