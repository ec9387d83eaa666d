package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// protocol is the folder with the schemas, types and samples of the backend protocol.
const protocol = "../module/webhook"

// agreement is the TypeScript that compares a type with a schema.
const agreement = `
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Required<T> = { [K in keyof T]-?: {} extends Pick<T, K> ? never : K }[keyof T];
type Keys<T> = keyof T;
function check<T extends true>(what: string) {}
`

// A typeWriter writes a TypeScript program that compiles if the types agree with the
// schemas.
type typeWriter struct {
	t       *testing.T
	program bytes.Buffer
	checks  int
}

func (w *typeWriter) check(format string, args ...any) {
	w.checks++
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(&w.program, "check<%s>(%q);\n", line, line)
}

// schema reads a schema, or the part of one that a reference names.
func (w *typeWriter) schema(reference string) map[string]any {
	w.t.Helper()
	file, pointer, _ := strings.Cut(reference, "#/")
	if file == "" {
		file = "common.json" // the only schema that refers to itself
	}
	text, err := os.ReadFile(filepath.Join(protocol, "schema", file))
	if err != nil {
		w.t.Fatal(err)
	}
	var node map[string]any
	if err := json.Unmarshal(text, &node); err != nil {
		w.t.Fatalf("%s: %v", file, err)
	}
	for name := range strings.SplitSeq(pointer, "/") {
		if name != "" {
			node = node[name].(map[string]any)
		}
	}
	return node
}

// compare compares a type with a schema, and the types of its members.
func (w *typeWriter) compare(name string, schema map[string]any) {
	if reference, ok := schema["$ref"].(string); ok {
		schema = w.schema(reference)
	}
	properties, _ := schema["properties"].(map[string]any)
	values, _ := schema["enum"].([]any)
	if value, ok := schema["const"]; ok {
		values = []any{value}
	}
	kinds, ok := schema["type"].([]any)
	if !ok && schema["type"] != nil {
		kinds = []any{schema["type"]}
	}
	switch {
	case properties != nil:
		var members, required []string
		for member := range properties {
			members = append(members, quote(member))
		}
		listed, _ := schema["required"].([]any)
		for _, member := range listed {
			required = append(required, quote(member))
		}
		w.check("Same<Keys<%s>, %s>", name, union(members))
		w.check("Same<Required<%s>, %s>", name, union(required))
		for member, inner := range properties {
			w.compare(fmt.Sprintf("Exclude<%s[%q], undefined>", name, member), inner.(map[string]any))
		}
	case values != nil:
		var all []string
		for _, value := range values {
			all = append(all, quote(value))
		}
		w.check("Same<%s, %s>", name, union(all))
	case slices.Equal(kinds, []any{"array"}):
		if items, ok := schema["items"].(map[string]any); ok {
			w.compare(name+"[number]", items)
		} else {
			w.check("Same<%s, any[]>", name)
		}
	case kinds == nil:
		w.check("Same<%s, any>", name)
	case slices.Contains(kinds, "object"):
		w.check("[%s] extends [object | null] ? true : false", name)
		w.check("[%s] extends [any[]] ? false : true", name)
		w.check("Same<null extends %s ? true : false, %t>", name, slices.Contains(kinds, "null"))
	case slices.Contains(kinds, "array"):
		w.check("Same<%s, string | string[]>", name)
	default:
		var all []string
		for _, kind := range kinds {
			all = append(all, strings.Replace(kind.(string), "integer", "number", 1))
		}
		w.check("Same<%s, %s>", name, union(all))
	}
}

func quote(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // the value was decoded from JSON
	}
	return string(text)
}

func union(types []string) string {
	if len(types) == 0 {
		return "never"
	}
	slices.Sort(types)
	return strings.Join(types, " | ")
}

// typedApplication is an application with types of its own.
const typedApplication = `
import { io, type Socket } from "socket.io-client";

interface Me extends SocketData { userId: string; role: "admin" | "guest" }
interface ToClient { "order:created": (order: { id: number }, picture: ArrayBuffer) => void; tick: () => void }
interface ToServer { "order:create": (order: { sku: string }, ack: (answer: { ok: boolean }) => void) => void; typing: (room: string) => void }

export const socket: Socket<ToClient, ToServer> = io();
export const anySocket: Socket<ServerToClientEvents, ClientToServerEvents> = io();
socket.on("order:created", (order) => order.id.toFixed());
socket.emit("order:create", { sku: "x" }, (answer) => answer.ok);
// @ts-expect-error there is no such event
socket.emit("order:destroy");

export function answer(request: BackendRequest<ToServer, Me>): ConnectAnswer<Me, ToClient> | EventAnswer<Me, ToClient> | undefined {
  switch (request.type) {
    case "socket.connect":
      return { data: { userId: "u1", role: "admin" }, user: "u1", emit: [{ event: "tick" }] };
    case "socket.event": {
      const { data } = request;
      data.state.userId.trim();
      if (data.event === "typing") data.args[0].trim();
      if (data.event !== "order:create") return {};
      data.args[0].sku.trim();
      // @ts-expect-error what takes the ack is no argument
      data.args[1];
      const ack: Ack<ToServer["order:create"]> = [{ ok: true }];
      return { ack, data: { role: "guest" }, emit: [{ to: ["org:o1"], event: "order:created", args: [{ id: 7 }, { $binary: "AQID" }] }] };
    }
    case "socket.disconnect":
      request.data.duration_ms.toFixed();
      return undefined;
  }
}
// @ts-expect-error an order has a number
export const wrong: Emission<ToClient> = { event: "order:created", args: [{ id: "7" }, { $binary: "" }] };
// @ts-expect-error nobody gets such an event
export const unknown: Emission<ToClient> = { event: "order:destroyed" };
// @ts-expect-error there is no such role
export const role: ConnectAnswer<Me> = { data: { userId: "u1", role: "king" } };
// @ts-expect-error a typo
export const typo: EventAnswer = { emits: [] };
`

// TestTypes checks that the types of the backend protocol agree with its schemas, and
// accept what an application does with them.
func TestTypes(t *testing.T) {
	t.Parallel()
	harness.NeedNode(t)
	w := &typeWriter{t: t}
	schemas, err := filepath.Glob(filepath.Join(protocol, "schema", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var titles []string
	for _, file := range schemas {
		name := filepath.Base(file)
		if name == "common.json" {
			for _, part := range []string{"Emission", "Disconnect"} {
				w.compare(part, w.schema("common.json#/$defs/"+part))
				titles = append(titles, part)
			}
			continue
		}
		schema := w.schema(name)
		title := schema["title"].(string)
		titles = append(titles, title)
		w.compare(title, schema)
		samples, err := filepath.Glob(filepath.Join(protocol, "schema", "samples", strings.TrimSuffix(name, ".json")+".*.json"))
		if err != nil || len(samples) < 2 {
			t.Fatalf("%s has %d samples: %v", name, len(samples), err)
		}
		for i, sample := range samples {
			text, err := os.ReadFile(sample)
			if err != nil {
				t.Fatal(err)
			}
			var line bytes.Buffer
			if err := json.Compact(&line, text); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(sample, ".bad-") {
				fmt.Fprintf(&w.program, "// @ts-expect-error %s\n", filepath.Base(sample))
			}
			fmt.Fprintf(&w.program, "export const %s%d: %s = %s;\n", strings.ToLower(title), i, title, line.String())
		}
	}
	if w.checks < 80 {
		t.Errorf("%d checks are few", w.checks)
	}
	types, err := filepath.Abs(filepath.Join(protocol, "types", "realtime.js"))
	if err != nil {
		t.Fatal(err)
	}
	imports := fmt.Sprintf("import type { %s } from %q;\n", strings.Join(append(titles, "SocketData", "ServerToClientEvents", "ClientToServerEvents", "BackendRequest", "Ack"), ", "), types)
	typeCheck(t, imports+agreement+w.program.String()+typedApplication, "")

	// The check can fail.
	typeCheck(t, imports+agreement+`check<Same<Keys<Disconnect>, "close">>("a field that the schema lacks");`, "TS2344")
	typeCheck(t, imports+agreement+`check<Same<Required<Emission>, never>>("a field that is required");`, "TS2344")
}

// typeCheck has the compiler check a program. It must find the problem, or none if that
// is "".
func typeCheck(t *testing.T, program, problem string) {
	t.Helper()
	// Beside node_modules, which has the types of socket.io-client.
	dir, err := os.MkdirTemp(".", "types")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "program.ts")
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--noUncheckedIndexedAccess",
		"--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", file).CombinedOutput()
	switch {
	case problem == "" && err != nil:
		t.Errorf("the types do not say what they should: %v\n%s", err, output)
	case problem != "" && !strings.Contains(string(output), problem):
		t.Errorf("the compiler finds no %s: %v\n%s", problem, err, output)
	}
}
