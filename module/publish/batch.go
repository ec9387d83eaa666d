package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// MaxCommands is how many commands a batch can have.
const MaxCommands = 1000

// results are the answer to a batch: for each command the answer of its own call, or the
// error.
type results struct {
	Results []any `json:"results"`
}

// batch runs commands in order. If one fails, the others are run all the same.
func (h *Handler) batch(ctx context.Context, r *request) (int, any, *Problem) {
	var commands []json.RawMessage
	if problem := (members{"commands": &commands}).read("", r.body); problem != nil {
		return 0, nil, problem
	}
	switch {
	case len(commands) == 0:
		return 0, nil, badField("commands must be an array of one or more")
	case len(commands) > MaxCommands:
		return 0, nil, badField("commands has more than %d", MaxCommands)
	}
	// What several commands send to one client leaves in one write.
	var held realtime.Batch
	held.Open()
	defer held.Close()
	ctx = realtime.WithBatch(ctx, &held)
	answer := results{make([]any, len(commands))}
	for i, data := range commands {
		result, problem := h.run(ctx, r, fmt.Sprintf("commands[%d]", i), data)
		if problem != nil {
			result = failure{problem}
		}
		answer.Results[i] = result
	}
	return http.StatusOK, answer, nil
}

// run does one command of a batch: an object whose only member is named after it.
func (h *Handler) run(ctx context.Context, r *request, place string, data []byte) (any, *Problem) {
	var emit json.RawMessage
	bodies := map[string]*json.RawMessage{"emit": &emit}
	fields := members{"emit": &emit}
	for name := range changes {
		bodies[name] = new(json.RawMessage)
		fields[name] = bodies[name]
	}
	if problem := fields.read(place, data); problem != nil {
		return nil, problem
	}
	command := ""
	for name, body := range bodies {
		if *body == nil {
			continue
		}
		if command != "" {
			return nil, badField("%s has more than one command; each is an object of its own", place)
		}
		command = name
	}
	switch command {
	case "":
		return nil, badField("%s has no command", place)
	case "emit":
		e, problem := parseEmission(place+".emit", emit, h.endpoint.Limits())
		if problem != nil {
			return nil, problem
		}
		return h.broadcast(ctx, r, e)
	}
	return h.change(ctx, h.nodes(r), command, place+"."+command, *bodies[command])
}
