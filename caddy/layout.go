package caddy

import (
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"go.uber.org/zap"
)

// A visit is a request that has come to an endpoint's handler.
type visit struct {
	handler   *Handler
	path      string
	uncertain bool // a directive rewrites the path in some cases
}

// A walk follows a request through a server's routes, as far as paths decide
// where it goes. Other matchers are taken to match, and handlers to go on.
type walk struct {
	server *caddyhttp.Server
	visits map[int][]visit // by the site, which is a route with a host
}

// A walker is the request, and what has become of it so far.
type walker struct {
	request   *http.Request
	replacer  *caddy.Replacer
	uncertain bool
	site      int
}

func newWalker(server *caddyhttp.Server, path string, site int) *walker {
	replacer := caddy.NewReplacer()
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, RequestURI: path, RemoteAddr: "127.0.0.1:1", Header: make(http.Header)}
	return &walker{request: caddyhttp.PrepareRequest(r, replacer, nil, server), replacer: replacer, site: site}
}

// follow returns where a request for a path comes to, by sites; -1 is what belongs
// to no host.
func follow(server *caddyhttp.Server, path string) map[int][]visit {
	w := &walk{server: server, visits: make(map[int][]visit)}
	all := newWalker(server, path, -1)
	for i, route := range server.Routes {
		if hasHost(route) {
			w.routes(newWalker(server, path, i), server.Routes[i:i+1])
			continue
		}
		w.routes(all, server.Routes[i:i+1])
	}
	return w.visits
}

func hasHost(route caddyhttp.Route) bool {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if _, ok := matcher.(*caddyhttp.MatchHost); ok {
				return true
			}
		}
	}
	return false
}

// routes takes a request through routes.
func (w *walk) routes(r *walker, routes caddyhttp.RouteList) {
	done := make(map[string]bool) // groups
	for _, route := range routes {
		if route.Group != "" && done[route.Group] {
			continue
		}
		matches, certain, files := r.matches(route.MatcherSets)
		if !matches {
			continue
		}
		if certain {
			done[route.Group] = true
		}
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				w.visits[r.site] = append(w.visits[r.site], visit{handler, r.request.URL.Path, r.uncertain})
			case *caddyhttp.Subroute:
				w.routes(r, handler.Routes)
			case *rewrite.Rewrite:
				switch {
				case certain:
					handler.Rewrite(r.request, r.replacer)
				case files: // try_files
					r.uncertain = true
				}
			}
		}
	}
}

// matches reports whether a request may pass matchers, whether it does so for
// certain, and whether that is a matter of files.
func (r *walker) matches(sets caddyhttp.MatcherSets) (matches, certain, files bool) {
	if len(sets) == 0 {
		return true, true, false
	}
	for _, set := range sets {
		possible, sure := true, true
		for _, matcher := range set {
			switch matcher := matcher.(type) {
			case *caddyhttp.MatchPath:
				ok, err := matcher.MatchWithError(r.request)
				possible = possible && ok && err == nil
			case *caddyhttp.MatchHost, *caddyhttp.MatchProtocol:
			case *fileserver.MatchFile:
				sure, files = false, true
			default:
				sure = false
			}
		}
		matches = matches || possible
		certain = certain || possible && sure
	}
	return matches, certain, files
}

// warnHidden says which of an endpoint's paths other directives keep from it.
func (a *App) warnHidden() {
	for _, server := range a.handover.servers {
		for _, s := range a.endpoints {
			for site := range s.sitesOf(server) {
				s.warnHidden(server, site, a.logger)
			}
		}
	}
}

// sitesOf returns the sites of a server that have the endpoint.
func (s *settings) sitesOf(server *caddyhttp.Server) map[int]bool {
	sites := make(map[int]bool)
	for i := range server.Routes {
		if s.isIn(server.Routes[i : i+1]) {
			if !hasHost(server.Routes[i]) {
				i = -1
			}
			sites[i] = true
		}
	}
	return sites
}

func (s *settings) isIn(routes caddyhttp.RouteList) bool {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *Handler:
				if handler.settings == s {
					return true
				}
			case *caddyhttp.Subroute:
				if s.isIn(handler.Routes) {
					return true
				}
			}
		}
	}
	return false
}

// isRewritten reports whether a handler in routes that have the endpoint rewrites
// paths.
func (s *settings) isRewritten(routes caddyhttp.RouteList) bool {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			switch handler := handler.(type) {
			case *rewrite.Rewrite:
				return true
			case *caddyhttp.Subroute:
				if s.isIn(handler.Routes) && s.isRewritten(handler.Routes) {
					return true
				}
			}
		}
	}
	return false
}

func (s *settings) warnHidden(server *caddyhttp.Server, site int, logger *zap.Logger) {
	// reached reports whether a request for a path comes to the endpoint in a way.
	reached := func(path string, well func(visit) bool) bool {
		for _, v := range follow(server, path)[site] {
			if v.handler.settings == s && well(v) {
				return true
			}
		}
		return false
	}
	anyhow := func(visit) bool { return true }
	var hidden []string
	some := false // of the paths come to the endpoint
	check := func(name, path string, well func(visit) bool) {
		if path == "" {
			return
		}
		some = some || reached(path, anyhow)
		if !reached(path, well) {
			hidden = append(hidden, name+" "+path)
		}
	}
	check("socketio", s.socketioPath, anyhow)
	for _, ws := range s.webSockets {
		check("websocket", ws.Path, anyhow)
	}
	check("health", s.healthPath, func(v visit) bool { return !v.uncertain && v.path == s.healthPath })
	if s.api != nil {
		check("api", s.api.path(), func(v visit) bool { return !v.uncertain && s.api.owns(v.path) })
	}
	if len(hidden) > 0 && some { // else it is meant to be below another path, by handle_path
		logger.Warn("requests for paths of the endpoint do not come to it: a matcher does not let them pass, or a directive before it rewrites them (try_files, rewrite, uri, handle_path); write realtime without a matcher, and in one route block with that directive, above it: route { realtime … try_files … }; or turn off what is not needed",
			zap.String("endpoint", s.name), zap.Strings("hidden", hidden))
	}
	if len(hidden) > 0 && !some && !s.isRewritten(server.Routes) {
		logger.Warn("no request comes to the endpoint: the matchers around it let none of its paths pass; write realtime outside of handle, or give its paths that of the matcher",
			zap.String("endpoint", s.name), zap.Strings("hidden", hidden))
	}
	if s.backend != nil && !reached(s.backend.path, anyhow) {
		logger.Warn("the backend's path is not closed, since a matcher keeps requests for it from the endpoint: clients may reach it if another directive answers there; write realtime without a matcher, or close the path by a directive of its own",
			zap.String("endpoint", s.name), zap.String("path", s.backend.path))
	}
}
