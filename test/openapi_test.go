package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-realtime/caddy-realtime/test/harness"
)

// TestOpenAPIClient checks that the description of the HTTP API is valid OpenAPI, and
// that a backend with a client generated from it compiles.
func TestOpenAPIClient(t *testing.T) {
	t.Parallel()
	harness.NeedNode(t)
	text, err := os.ReadFile(filepath.Join("..", "module", "publish", "openapi.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir, output, err := generateClient(t, string(text))
	if err != nil {
		t.Fatalf("the description: %v\n%s", err, output)
	}
	program, err := os.ReadFile(filepath.Join("openapi", "client.ts"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "client.ts")
	if err := os.WriteFile(file, program, 0o600); err != nil {
		t.Fatal(err)
	}
	compiled, err := exec.Command("node", "openapi/node_modules/typescript/bin/tsc", "--noEmit", "--strict",
		"--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", file).CombinedOutput()
	if err != nil {
		t.Errorf("the client: %v\n%s", err, compiled)
	}

	// The check can fail.
	for problem, change := range map[string][2]string{
		"too` is not expected":    {`description: "those of no user, too"`, `description: those of no user, too`},
		"no-unresolved-refs":      {`#/components/schemas/Command"`, `#/components/schemas/Commands"`},
		"Can't resolve $ref":      {`#/components/schemas/Batch"`, `#/components/schemas/Batches"`},
		"no-unused-components":    {`items: { $ref: "#/components/schemas/Command" }`, `items: {}`},
		"path-parameters-defined": {"- name: room\n          in: path", "- name: place\n          in: path"},
	} {
		broken := strings.Replace(string(text), change[0], change[1], 1)
		if _, output, err := generateClient(t, broken); err == nil || broken == string(text) || !strings.Contains(output, problem) {
			t.Errorf("without %q nothing is wrong: %v %s", change[0], err, output)
		}
	}
}

// generateClient checks a description and generates the types of a client, in a folder
// beside the packages that it needs.
func generateClient(t *testing.T, description string) (dir, output string, err error) {
	t.Helper()
	if dir, err = os.MkdirTemp("openapi", "client"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if dir, err = filepath.Abs(dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "openapi.yaml")
	if err := os.WriteFile(file, []byte(description), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("node", "openapi/generate.mjs", file, filepath.Join(dir, "api.d.ts")).CombinedOutput()
	return dir, string(text), err
}
