package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-realtime/caddy-realtime/test/harness"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// examples returns the command of each application of examples/ that has a backend. All
// of them do the same.
var examples = map[string]func(t *testing.T) []string{
	"go": func(t *testing.T) []string {
		binary := filepath.Join(t.TempDir(), "backend")
		if err := finish("../examples/go", "go", "build", "-race", "-o", binary, "."); err != nil {
			t.Fatal(err)
		}
		return []string{binary}
	},
	"python": func(*testing.T) []string { return []string{harness.Python, "backend.py"} },
	"fastify": func(t *testing.T) []string {
		harness.NeedNode(t)
		if err := buildFastify(); err != nil {
			t.Fatal(err)
		}
		return []string{"node", "dist/server.js"}
	},
}

// buildFastify builds that example once. Otherwise a test could rewrite files while
// another one runs them.
var buildFastify = sync.OnceValue(func() error {
	return errors.Join(
		finish("../examples/fastify", "npm", "run", "check"),
		finish("../examples/fastify", "npm", "run", "build"))
})

// finish runs a program to its end.
func finish(dir string, command ...string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, output)
	}
	return nil
}

// An example is a running backend of examples/.
type example struct {
	t       *testing.T
	dir     string
	command []string
	env     []string
	port    int
	cmd     *exec.Cmd
	output  bytes.Buffer // complete when the process has ended
}

// run starts the backend and waits until it answers.
func (e *example) run() {
	e.t.Helper()
	e.cmd = exec.Command(e.command[0], e.command[1:]...)
	e.cmd.Dir = e.dir
	e.cmd.Env = append(os.Environ(), e.env...)
	e.cmd.Stdout, e.cmd.Stderr = &e.output, &e.output
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	for deadline := time.Now().Add(harness.Timeout); ; time.Sleep(20 * time.Millisecond) { // between two attempts
		if a, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/health", e.port)); err == nil {
			a.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			_ = e.cmd.Process.Kill()
			_ = e.cmd.Wait()
			e.t.Fatalf("the backend does not start:\n%s", e.output.String())
		}
	}
}

// stop ends the backend by SIGTERM.
func (e *example) stop() {
	e.t.Helper()
	if e.cmd == nil {
		return
	}
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(harness.Timeout, func() { _ = e.cmd.Process.Kill() })
	err := e.cmd.Wait()
	e.cmd = nil
	if kill.Stop(); err != nil {
		e.t.Errorf("the backend ended: %v\n%s", err, e.output.String())
	}
}

// startExample runs a backend, and Caddy with the example's own Caddyfile.
func startExample(t *testing.T, name string) (*harness.Server, *example) {
	t.Helper()
	e := &example{t: t, dir: "../examples/" + name, port: harness.FreePort(t)}
	e.command = examples[name](t)
	s := harness.NewServer(t, harness.Shipped)
	e.env = []string{
		fmt.Sprintf("SITE_ADDRESS=http://localhost:%[1]d, http://127.0.0.1:%[1]d", s.Port),
		fmt.Sprintf("API_ADDRESS=127.0.0.1:%d", e.port),
		fmt.Sprintf("REALTIME_URL=http://localhost:%d/api/realtime", s.Port),
		"REALTIME_SECRET=" + harness.FirstSecret, "REALTIME_KEY=" + harness.FirstKey, "SESSION_SECRET=of-the-tests-and-at-least-32-long-0123456789",
	}
	e.run()
	t.Cleanup(e.stop)
	text, err := os.ReadFile(e.dir + "/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	// A restart may take long on a busy machine.
	const secret = "secret {$REALTIME_SECRET}"
	patient := strings.Replace(string(text), secret, secret+"\ntimeout 30s 30s", 1)
	if patient == string(text) {
		t.Fatalf("the Caddyfile has not %q, which the test adds to", secret)
	}
	s.WriteFile("Caddyfile", s.GlobalOptions("default_bind 127.0.0.1\nrealtime {\n\tdrain 0s\n}")+patient)
	s.WorkingDir, s.Env = e.dir, e.env
	s.Run()
	return s, e
}

// TestExamples runs each example with real clients, as its README says.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name := range examples {
		t.Run(name, func(t *testing.T) {
			s, e := startExample(t, name)
			n := s.StartNode(t, "example.mjs", "SITE_URL", fmt.Sprintf("http://localhost:%d", s.Port))
			n.Expect("stop", nil)
			e.stop() // while the other clients wait for their acks
			e.run()
			n.Tell("running")
			n.Finish()
			s.WaitIdle()
			e.stop()
			log := e.output.String()
			for _, want := range []string{"ann@example.com", "connected", "disconnected", "client namespace disconnect"} {
				if !strings.Contains(log, want) {
					t.Errorf("the log does not say %q:\n%s", want, log)
				}
			}
		})
	}
}

// TestExamplePage opens the page of the examples in a real browser.
func TestExamplePage(t *testing.T) {
	t.Parallel()
	for name := range examples {
		t.Run(name, func(t *testing.T) {
			s, _ := startExample(t, name)
			s.RunNode(t, "example-page.mjs", "NAME", name, "PAGE_URL", fmt.Sprintf("http://localhost:%d/", s.Port))
		})
	}
}

// TestExamplesVerify checks that examples refuse requests that Caddy has not signed, or
// that are old or repeated.
func TestExamplesVerify(t *testing.T) {
	t.Parallel()
	ours, err := standardwebhooks.NewWebhook(harness.FirstSecret)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := standardwebhooks.NewWebhook(harness.SecondSecret)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"v":1,"type":"socket.disconnect","timestamp":"2026-01-01T00:00:00.000Z","attempt":1,"data":{"socket":{"id":"s1"},"state":{"email":"x"},"reason":"transport close","user_connections_left":0}}`
	sign := func(by *standardwebhooks.Webhook, id string, at time.Time) string {
		t.Helper()
		signature, err := by.Sign(id, at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return signature
	}
	for name := range examples {
		t.Run(name, func(t *testing.T) {
			_, e := startExample(t, name)
			now := time.Now() // after the build, which can take minutes
			post := func(id string, at time.Time, signature, body string) int {
				t.Helper()
				r, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/realtime", e.port), strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if signature != "" {
					r.Header.Set("Webhook-Id", id)
					r.Header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
					r.Header.Set("Webhook-Signature", signature)
				}
				a, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				a.Body.Close()
				return a.StatusCode
			}
			good := sign(ours, "msg_1", now)
			for _, tt := range []struct {
				what      string
				id        string
				at        time.Time
				signature string
				body      string
				want      int
			}{
				{"unsigned", "msg_1", now, "", body, 500},
				{"by another secret", "msg_1", now, sign(theirs, "msg_1", now), body, 500},
				{"of another body", "msg_1", now, good, body + " ", 500},
				{"of another id", "msg_2", now, good, body, 500},
				{"of another version", "msg_1", now, "v2," + strings.TrimPrefix(good, "v1,"), body, 500},
				{"stale", "msg_3", now.Add(-time.Hour), sign(ours, "msg_3", now.Add(-time.Hour)), body, 500},
				{"of the future", "msg_4", now.Add(time.Hour), sign(ours, "msg_4", now.Add(time.Hour)), body, 500},
				{"good", "msg_1", now, good, body, 204},
				{"replayed", "msg_1", now, good, body, 500},
				{"told again", "msg_1", now.Add(time.Second), sign(ours, "msg_1", now.Add(time.Second)), body, 204},
				{"by two secrets", "msg_5", now, sign(theirs, "msg_5", now) + " " + sign(ours, "msg_5", now), body, 204},
			} {
				if got := post(tt.id, tt.at, tt.signature, tt.body); got != tt.want {
					t.Errorf("a request that is %s is answered %d, want %d", tt.what, got, tt.want)
				}
			}
		})
	}
}

// TestExamplesBatch checks that examples answer each message of a batch.
func TestExamplesBatch(t *testing.T) {
	t.Parallel()
	ours, err := standardwebhooks.NewWebhook(harness.FirstSecret)
	if err != nil {
		t.Fatal(err)
	}
	const body = `{"v":1,"type":"batch","timestamp":"2026-01-01T00:00:00.000Z","messages":[
		{"id":"msg_1","type":"socket.event","attempt":1,"data":{"socket":{"id":"s1"},"state":{"email":"x","organizationId":"o"},"event":"message:send","args":[{"text":"hello"}]}},
		{"id":"msg_2","type":"socket.event","attempt":1,"data":{"socket":{"id":"s2"},"state":{"email":"y","organizationId":"o"},"event":"oops","args":[]}},
		{"id":"msg_3","type":"socket.disconnect","attempt":1,"data":{"socket":{"id":"s1"},"state":{"email":"x"},"reason":"transport close","user_connections_left":0}},
		{"id":"msg_4","type":"socket.later","attempt":1,"data":{}}]}`
	for name := range examples {
		t.Run(name, func(t *testing.T) {
			_, e := startExample(t, name)
			now := time.Now()
			signature, err := ours.Sign("msg_0", now, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/realtime", e.port), strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"Content-Type": "application/json", "Webhook-Id": "msg_0", "Webhook-Timestamp": strconv.FormatInt(now.Unix(), 10), "Webhook-Signature": signature} {
				r.Header.Set(name, value)
			}
			a, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Body.Close()
			if media := a.Header.Get("Content-Type"); a.StatusCode != http.StatusOK || !strings.HasPrefix(media, "application/x-ndjson") {
				t.Errorf("the answer is %d %s", a.StatusCode, media)
			}
			got := make(map[string]string)
			for lines := json.NewDecoder(a.Body); ; {
				var line struct {
					ID     string
					Status int
					Body   struct {
						Ack   []struct{ OK bool }
						Error struct{ Code string }
					}
				}
				if err := lines.Decode(&line); err != nil {
					break
				}
				got[line.ID] = fmt.Sprintf("%d%v%s", line.Status, line.Body.Ack, line.Body.Error.Code)
			}
			want := map[string]string{"msg_1": "200[{true}]", "msg_2": "422[]unknown_event", "msg_3": "204[]", "msg_4": "204[]"}
			if !maps.Equal(got, want) {
				t.Errorf("the lines are %v, want %v", got, want)
			}
		})
	}
}
