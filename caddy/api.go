package caddy

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-realtime/caddy-realtime/module/publish"
	"github.com/caddy-realtime/caddy-realtime/module/realtime"
)

// API is the HTTP API, by which backends emit events, move sockets between rooms and ask who is
// connected. module/publish/openapi.yaml describes its calls.
type API struct {
	// Path is the prefix of the paths of all calls, such as "/api/realtime". Required.
	Path string `json:"path"`
	// Keys are the secrets of callers. Each request must have one of them, as "Authorization:
	// Bearer <key>". A key has 32 characters or more. Write two of them while you replace one by
	// the other. Global placeholders such as {env.KEY} are filled in when the configuration is
	// loaded. Required.
	Keys []string `json:"keys"`
}

// path returns the path without a slash at its end. It is "" if there is no API. a may be nil.
func (a *API) path() string {
	if a == nil {
		return ""
	}
	return strings.TrimRight(starless(a.Path), "/")
}

// owns reports whether a request's path is the API's or below it. a may be nil.
func (a *API) owns(path string) bool {
	base := a.path()
	return base != "" && (path == base || strings.HasPrefix(path, base+"/"))
}

// loadKeys returns the keys with placeholders filled in. The error does not contain
// them.
func (a *API) loadKeys() (publish.Keys, error) {
	if a == nil {
		return publish.Keys{}, nil
	}
	texts := make([]string, len(a.Keys))
	for i, key := range a.Keys {
		var err error
		// A placeholder without a value is an error. Its own text must not become the key:
		// it is in the configuration, which is no secret.
		if texts[i], err = expand(fmt.Sprint("api: key ", i+1), key); err != nil {
			return publish.Keys{}, err
		}
	}
	keys, err := publish.NewKeys(texts...)
	if err != nil {
		return publish.Keys{}, fmt.Errorf("api: %w", err)
	}
	return keys, nil
}

// validate reports what is wrong with the configuration of the API. Keys with
// placeholders are checked when they are loaded.
func (a *API) validate() error {
	switch {
	case a == nil:
		return nil
	case a.path() == "":
		return errors.New("api: the path must be one of its own, such as /api/realtime")
	case len(a.Keys) == 0:
		return errors.New("api: there is no key; write a block with key and a secret, " +
			"such as {env.REALTIME_KEY}")
	}
	for _, key := range a.Keys {
		if strings.Contains(key, "{") {
			return nil
		}
	}
	_, err := a.loadKeys()
	return err
}

// newAPI returns the handler of the settings' API; nil if they have none.
func (e *endpoint) newAPI(s *settings) *publish.Handler {
	if s.api == nil {
		return nil
	}
	return publish.NewHandler(e.Endpoint, publish.Options{
		Path:     s.api.path(),
		Keys:     s.apiKeys,
		Answers:  &e.answers,
		ClientIP: clientIP,
		Logger:   s.logger.With(zap.String("protocol", "api")),
	})
}

// fillStats adds the figures of the hub's endpoints to those of the hub.
func (h *hub) fillStats(stats *realtime.Stats) {
	stats.Connections = h.connections()
	stats.Transports = h.transports()
	for _, e := range h.all() {
		bytes, connections := e.servers.Load().queued()
		stats.Queues.Bytes += bytes
		stats.Queues.Connections += connections
		e.fillBackend(stats)
	}
}

// fillBackend adds the figures of the endpoint's backend, if it has one.
func (e *endpoint) fillBackend(stats *realtime.Stats) {
	if r := e.current.Load(); r == nil || r.settings.backend == nil {
		return
	}
	if stats.Backend == nil {
		stats.Backend = &realtime.BackendStats{Requests: make(map[string]realtime.RequestStats)}
	}
	inFlight, latencies := e.meter.Read()
	stats.Backend.InFlight += inFlight
	stats.Backend.Lost += e.disconnects.Lost()
	for kind, more := range latencies {
		stats.Backend.Requests[kind] = stats.Backend.Requests[kind].Plus(more)
	}
}
