package caddy

import (
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"go.uber.org/zap"
)

// A visit says that a request has reached an endpoint's handler, and with which path.
type visit struct {
	handler   *Handler
	path      string
	uncertain bool // a directive rewrites the path in some cases
}

// A walk follows a request through a server's routes, as far as the request's path
// decides. It assumes that all other matchers match, and that a handler passes the
// request on unless it is known to answer.
type walk struct {
	server *caddyhttp.Server
	visits map[int][]visit // by site: the index of a route with a host, or noHost
}

// noHost is the site of all routes that belong to no host.
const noHost = -1

// A walker is a request on its way through routes.
type walker struct {
	path      string // the one that it came with
	site      int
	request   *http.Request
	replacer  *caddy.Replacer
	done      map[string]bool // groups of which a route has matched
	uncertain bool            // a directive rewrites the path in some cases
	files     bool            // a route before matched only if some file exists
}

func newWalker(server *caddyhttp.Server, path string, site int) *walker {
	replacer := caddy.NewReplacer()
	r := &http.Request{
		Method:     http.MethodGet,
		URL:        &url.URL{Path: path},
		RequestURI: path,
		RemoteAddr: "127.0.0.1:1",
		Header:     make(http.Header),
	}
	return &walker{
		path:     path,
		site:     site,
		request:  caddyhttp.PrepareRequest(r, replacer, nil, server),
		replacer: replacer,
		done:     make(map[string]bool),
	}
}

// fork returns a copy of the walker, for a route that may match or not.
func (r *walker) fork(server *caddyhttp.Server) *walker {
	other := newWalker(server, r.path, r.site)
	other.request.URL = new(*r.request.URL)
	other.request.RequestURI = r.request.RequestURI
	other.done = maps.Clone(r.done)
	other.uncertain, other.files = r.uncertain, r.files
	return other
}

// follow returns the visits of a request for a path, by sites.
func follow(server *caddyhttp.Server, path string) map[int][]visit {
	w := &walk{server: server, visits: make(map[int][]visit)}
	all := newWalker(server, path, noHost)
	answered := false
	for i, route := range server.Routes {
		switch {
		case hasHost(route):
			w.routes(newWalker(server, path, i), server.Routes[i:i+1])
		case !answered:
			answered = w.routes(all, server.Routes[i:i+1])
		}
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

// routes takes a request through routes, and reports whether it certainly goes no
// further.
func (w *walk) routes(r *walker, routes caddyhttp.RouteList) (answered bool) {
	for _, route := range routes {
		if route.Group != "" && r.done[route.Group] {
			continue
		}
		matches, certain, files := r.matches(route.MatcherSets)
		switch {
		case !matches:
		case certain:
			r.done[route.Group] = true
			if w.handlers(r, route.Handlers) || route.Terminal {
				return true
			}
		default:
			inside := r.fork(w.server)
			inside.files = inside.files || files
			if answered := w.handlers(inside, route.Handlers) || route.Terminal; !answered {
				r.uncertain = r.uncertain || inside.uncertain
			}
		}
	}
	return false
}

// handlers takes a request through the handlers of a route, and reports whether it
// certainly goes no further.
func (w *walk) handlers(r *walker, handlers []caddyhttp.MiddlewareHandler) (answered bool) {
	for _, handler := range handlers {
		switch handler := handler.(type) {
		case *Handler:
			w.visits[r.site] = append(w.visits[r.site], visit{handler, r.request.URL.Path, r.uncertain})
		case *caddyhttp.Subroute:
			if w.routes(r, handler.Routes) {
				return true
			}
		case *rewrite.Rewrite:
			if r.files { // try_files
				r.uncertain = true
			} else {
				handler.Rewrite(r.request, r.replacer)
			}
		default:
			if answersAll(handler) {
				return true
			}
		}
	}
	return false
}

// answersAll reports whether a handler passes no request on. It knows handlers of
// Caddy itself only: of any other it reports false.
func answersAll(handler caddyhttp.MiddlewareHandler) bool {
	switch handler := handler.(type) {
	case *caddyhttp.StaticResponse: // respond, redir, abort
		// 103 (Early Hints) is not final, and a placeholder may be that.
		code, err := strconv.Atoi(handler.StatusCode.String())
		return handler.Abort || handler.StatusCode == "" || err == nil && code != http.StatusEarlyHints
	case *caddyhttp.StaticError:
		return true
	case *fileserver.FileServer:
		return !handler.PassThru
	case *reverseproxy.Handler:
		return len(handler.HandleResponse) == 0 // forward_auth has one, which passes requests on
	}
	return false
}

// matches reports whether a request may pass matchers, whether it certainly does,
// and whether that depends on which files there are.
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

// warnHidden logs which paths of endpoints are hidden by matchers and by other directives.
func (a *App) warnHidden() {
	for _, server := range a.listeners.Servers() {
		for _, r := range a.endpoints {
			s := r.settings
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
				i = noHost
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
				if handler.reference.settings == s {
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
	// reached reports whether a request for a path visits the endpoint, and well is true of a visit.
	reached := func(path string, well func(visit) bool) bool {
		for _, v := range follow(server, path)[site] {
			if v.handler.reference.settings == s && well(v) {
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
		logger.Warn("requests for paths of the endpoint do not come to it: a matcher does not let them pass, "+
			"or a directive before it answers them (respond, redir, file_server, reverse_proxy) "+
			"or rewrites them (try_files, rewrite, uri, handle_path); "+
			"write realtime without a matcher, and in one route block with that directive, above it: "+
			"route { realtime … try_files … }; or turn off what is not needed",
			zap.String("endpoint", s.name), zap.Strings("hidden", hidden))
	}
	if len(hidden) > 0 && !some && !s.isRewritten(server.Routes) {
		logger.Warn("no request comes to the endpoint: the matchers around it let none of its paths pass, "+
			"or a directive before it answers them all; "+
			"write realtime outside of handle, or give its paths that of the matcher; and above that directive",
			zap.String("endpoint", s.name), zap.Strings("hidden", hidden))
	}
	if s.backend != nil && !reached(s.backend.path, anyhow) {
		logger.Warn("the backend's path is not closed, since requests for it do not come to the endpoint: "+
			"a matcher does not let them pass, or a directive before it answers them; "+
			"clients may reach the backend if that directive, or another one, leads there; "+
			"write realtime without a matcher and above that directive, or close the path by a directive of its own",
			zap.String("endpoint", s.name), zap.String("path", s.backend.path))
	}
}
