package harness

import (
	"fmt"
	"os"
)

// A Config has the parts of a Caddyfile that differ between tests.
type Config struct {
	Global string // more global options; default: no drain at exit
	Site   string // the directives of the server's site
	More   string // more sites
	Secure bool   // the site is served over TLS, with a certificate of Caddy's own authority
}

// WriteConfig writes a Caddyfile in the server's folder and returns its path.
func (s *Server) WriteConfig(name string, c Config) string {
	s.t.Helper()
	if c.Global == "" {
		c.Global = "realtime {\n\tdrain 0s\n}"
	}
	address := fmt.Sprintf("http://:%d", s.Port)
	if c.Secure {
		address = "https://" + s.Address()
		c.Site = "tls internal\n\t" + c.Site
	}
	return s.WriteFile(name, fmt.Sprintf("%s%s {\n\tbind 127.0.0.1\n\t%s\n}\n%s\n",
		s.GlobalOptions(c.Global), address, c.Site, c.More))
}

// GlobalOptions returns the block of global options that every server has, with more of
// them.
func (s *Server) GlobalOptions(more string) string {
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	log {
		output stderr
		format json
	}
	%s
}
`, s.Admin(), more)
}

// WriteFile writes a file in the server's folder and returns its path.
func (s *Server) WriteFile(name, text string) string {
	s.t.Helper()
	path := s.path(name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}
