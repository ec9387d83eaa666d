package docs

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-realtime/caddy-realtime/caddy"
)

// environment is what Caddyfiles of the pages take from the environment.
var environment = map[string]string{
	"REALTIME_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
	"REALTIME_KEY":    "0123456789abcdef0123456789abcdef",
	"OLD_SECRET":      "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
	"OLD_KEY":         "fedcba9876543210fedcba9876543210",
	"REDIS_PASSWORD":  "0123456789abcdef",
	"JWT_SECRET":      "0123456789abcdef0123456789abcdef",
}

// TestCaddyfiles adapts every Caddyfile, and has Caddy validate what comes of it,
// which is all but to start it.
func TestCaddyfiles(t *testing.T) {
	for name, value := range environment {
		t.Setenv(name, value)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	pages := readPages(t)
	workIn(t, clients(t))
	var kinds tally
	problems := checkCaddyfiles(pages, &kinds)
	t.Logf("Caddyfiles: %v", kinds)
	report(t, problems)
}

func checkCaddyfiles(pages []*page, kinds *tally) []error {
	return each(pages, "caddyfile", func(b *block) error {
		kind := b.word()
		if kind == "" {
			kind = "whole"
		}
		kinds.add(kind)
		if kind == "syntax" || kind == "from" {
			return nil
		}
		if formatted := string(caddyfile.Format([]byte(b.text))); formatted != b.text {
			return b.problemf("caddy fmt would make it\n%s", formatted)
		}
		whole, err := complete(b)
		if err != nil {
			return b.problemf("%v", err)
		}
		config, err := adapt(whole)
		if err != nil {
			return b.problemf("%v", err)
		}
		if err := validate(config); err != nil {
			return b.problemf("it is adapted, but not valid: %v", err)
		}
		return nil
	})
}

// complete returns the whole Caddyfile that a block stands for. What is only part
// of one is put where its word says that it belongs.
func complete(b *block) (string, error) {
	switch b.word() {
	case "", "run":
		return b.text, nil
	case "options":
		return "{\n" + b.text + "}\n:80 {\n\trealtime\n}\n", nil
	case "site":
		return ":80 {\n" + b.text + "}\n", nil
	case "realtime":
		return ":80 {\nrealtime {\n" + b.text + "}\n}\n", nil
	case "limits":
		return ":80 {\nrealtime {\nlimits {\n" + b.text + "}\n}\n}\n", nil
	case "backend":
		rest := ""
		if !strings.Contains(b.text, "secret") && !strings.Contains(b.text, "unsigned") {
			rest = "unsigned\n"
		}
		return ":80 {\nrealtime {\nbackend http://localhost:3000/realtime {\n" + b.text + rest + "}\n}\n}\n", nil
	}
	return "", fmt.Errorf("caddyfile %s: the word is unknown; there are run, options, site, realtime, limits, backend and syntax", b.word())
}

// adapt returns the JSON of a Caddyfile.
func adapt(whole string) ([]byte, error) {
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(whole), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	for _, warning := range warnings {
		if !strings.Contains(warning.Message, "not formatted") { // what is completed is not
			return nil, fmt.Errorf("warning: %s", warning.String())
		}
	}
	return config, nil
}

// validate loads a configuration up to where it would start.
func validate(text []byte) error {
	var config caddy.Config
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	quiet(&config)
	return caddy.Validate(&config)
}

// quiet has a configuration say nothing, and take no port for its administration.
func quiet(config *caddy.Config) {
	config.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: new(bool)}}
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}},
	}}
}

// A tally counts what there is of each kind.
type tally map[string]int

func (n *tally) add(kind string) {
	if *n == nil {
		*n = make(tally)
	}
	(*n)[kind]++
}
