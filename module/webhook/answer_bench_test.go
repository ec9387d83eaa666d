package webhook

import (
	"encoding/json"
	"testing"
	"time"
)

// usualAnswers are of the kinds that backends give most.
var usualAnswers = []struct{ name, kind, body string }{
	{"ack", typeEvent, `{"ack":[{"ok":true}]}`},
	{"connect", typeConnect, `{"user":"u-1842","data":{"name":"Anna","plan":{"seats":12}},"join":["org:7","team:3"]}`},
	{"emit", typeEvent, `{"ack":[{"id":17}],"emit":[{"event":"order:created","to":["org:7"],"args":[{"id":17,"sku":"x"}]}]}`},
}

// A plainAnswer is an answer for encoding/json, which knows one way to write it.
type plainAnswer struct {
	User       string                     `json:"user"`
	Data       map[string]json.RawMessage `json:"data"`
	Join       []string                   `json:"join"`
	Leave      []string                   `json:"leave"`
	Ack        []json.RawMessage          `json:"ack"`
	ExpiresAt  time.Time                  `json:"expires_at"`
	Error      json.RawMessage            `json:"error"`
	Disconnect *struct {
		Reason string `json:"reason"`
		Close  bool   `json:"close"`
	} `json:"disconnect"`
	Emit []struct {
		Event     string            `json:"event"`
		To        []string          `json:"to"`
		Users     []string          `json:"users"`
		Except    []string          `json:"except"`
		Everyone  bool              `json:"everyone"`
		Namespace string            `json:"namespace"`
		Args      []json.RawMessage `json:"args"`
		Volatile  bool              `json:"volatile"`
	} `json:"emit"`
}

// TestAnswerAllocations: to take an answer in every way that languages write it costs
// the usual one no more memory than encoding/json takes.
func TestAnswerAllocations(t *testing.T) {
	for _, tt := range usualAnswers {
		body := []byte(tt.body)
		got := testing.AllocsPerRun(100, func() { _, _ = parseAnswer(tt.kind, body) })
		most := testing.AllocsPerRun(100, func() { _ = json.Unmarshal(body, new(plainAnswer)) })
		if got > most {
			t.Errorf("%s takes %v allocations, and json.Unmarshal %v", tt.body, got, most)
		}
	}
}

// BenchmarkParseAnswer is beside what encoding/json takes for the same text.
func BenchmarkParseAnswer(b *testing.B) {
	for _, tt := range usualAnswers {
		b.Run(tt.name+"/parseAnswer", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parseAnswer(tt.kind, []byte(tt.body)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(tt.name+"/json.Unmarshal", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var a plainAnswer
				if err := json.Unmarshal([]byte(tt.body), &a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
