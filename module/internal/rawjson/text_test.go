package rawjson

import (
	"encoding/json"
	"testing"
)

func TestText(t *testing.T) {
	for data, want := range map[string]string{
		`"a"`: "a", `""`: "", `"\u0037"`: "7", `"7.0"`: "7.0",
		`7`: "7", `7.0`: "7", `-7.00`: "-7", `0`: "0", `-0`: "0", `-0.0`: "0", `1.50`: "1.5", `100`: "100", `100.0`: "100",
		`12345678901234567890123`: "12345678901234567890123", `12345678901234567890.0`: "12345678901234567890",
		`1e3`: "1000", `1.0e+15`: "1000000000000000", `-2E2`: "-200", `1.5e1`: "15",
	} {
		if got, ok := Text(json.RawMessage(data)); !ok || got != want {
			t.Errorf("Text(%s) = %q, %v, want %q", data, got, ok, want)
		}
	}
	for _, data := range []string{`1e25`, `9007199254740992e0`, `-9007199254740992e0`, `1e400`, `1.5e0`, `true`, `null`, `{}`, `[]`, ``} {
		if got, ok := Text(json.RawMessage(data)); ok {
			t.Errorf("Text(%s) = %q", data, got)
		}
	}
}
