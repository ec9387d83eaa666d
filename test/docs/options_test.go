package docs

import (
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestOptions holds that docs/caddyfile.md has every field of the JSON of every
// module, as `limits.payload`.
func TestOptions(t *testing.T) {
	text := read(t, "docs/caddyfile.md")
	for _, module := range caddy.Modules() {
		if module != "http.handlers.realtime" && module != "realtime" && !strings.HasPrefix(module, "realtime.") {
			continue
		}
		info, err := caddy.GetModule(module)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "`"+module+"`") {
			t.Errorf("docs/caddyfile.md does not name the module %s", module)
		}
		for _, field := range fields(reflect.TypeOf(info.New()), "") {
			if !strings.Contains(text, "`"+field+"`") {
				t.Errorf("docs/caddyfile.md does not have the JSON field `%s` of %s", field, module)
			}
		}
	}
}

// fields returns the names of the JSON fields of a type, and of those within.
func fields(of reflect.Type, before string) (names []string) {
	switch of.Kind() {
	case reflect.Pointer:
		return fields(of.Elem(), before)
	case reflect.Slice:
		return fields(of.Elem(), strings.TrimSuffix(before, ".")+"[].")
	case reflect.Map:
		return fields(of.Elem(), before+"<name>.")
	case reflect.Struct:
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" || name == "-" || !field.IsExported() {
				continue
			}
			names = append(names, before+name)
			names = append(names, fields(field.Type, before+name+".")...)
		}
	}
	return names
}

// TestReadme holds the README to what one reads in a minute.
func TestReadme(t *testing.T) {
	const most = 5000
	if size := len(read(t, "README.md")); size > most {
		t.Errorf("README.md has %d bytes, and should have %d at most: move something to docs/", size, most)
	}
}
