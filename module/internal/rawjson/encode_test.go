package rawjson

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestEncode(t *testing.T) {
	b := bytes.NewBufferString("before ")
	if err := Encode(b, map[string]any{"raw": json.RawMessage(`"<&>"`), "text": "<&>\n"}); err != nil {
		t.Fatal(err)
	}
	if err := Encode(b, json.RawMessage("{")); err == nil {
		t.Error("invalid JSON was encoded")
	}
	if got, want := b.String(), `before {"raw":"<&>","text":"<&>\n"}`; got != want {
		t.Errorf("encoded %s, want %s", got, want)
	}
}
