package caddy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the adapter says into testdata/adapt")

// separator stands between a Caddyfile and its JSON or error.
const separator = "\n----------\n"

// TestAdapt adapts each file of testdata/adapt. A file has a Caddyfile, dashes, and the JSON or the
// error that must come out.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(content), separator)
			input = strings.TrimRight(input, "\n") + "\n"
			got := adapt(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != strings.TrimSpace(want) {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// adapt returns the JSON of a Caddyfile, or the error.
func adapt(t *testing.T, input string) string {
	t.Helper()
	result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error()
	}
	for _, warning := range warnings {
		t.Errorf("warning: %s", warning.String())
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, result, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return pretty.String()
}

// TestExample adapts Caddyfile.example, which must also be formatted.
func TestExample(t *testing.T) {
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if got := adapt(t, string(example)); !strings.Contains(got, `"handler": "realtime"`) {
		t.Errorf("adapted to\n%s", got)
	}
	if formatted := caddyfile.Format(example); !bytes.Equal(formatted, example) {
		t.Errorf("caddy fmt would make it\n%s", formatted)
	}
}
