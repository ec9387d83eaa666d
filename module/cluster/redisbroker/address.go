package redisbroker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
)

// An address is a parsed URL.
type address struct {
	hostPort           string
	secure             bool
	username, password string
}

// parseAddress parses a URL. Its errors never have the URL's user and password.
func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return address{}, errors.New("a URL is malformed; it looks like redis://127.0.0.1:6379, " +
			"and special characters in a password are written like %23")
	}
	var a address
	switch u.Scheme {
	case "redis", "valkey":
	case "rediss", "valkeys":
		a.secure = true
	default:
		return address{}, fmt.Errorf("a URL begins with %.20q, and not with redis:// or rediss://", u.Scheme+":")
	}
	if u.Hostname() == "" {
		return address{}, errors.New("a URL has no host; it looks like redis://127.0.0.1:6379")
	}
	if u.Path != "" && u.Path != "/" && u.Path != "/0" {
		return address{}, fmt.Errorf("the URL of %s has a path: all databases of a server share their channels, "+
			"so set a prefix instead", u.Host)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return address{}, fmt.Errorf("the URL of %s has a query or a fragment; write options in the block", u.Host)
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	a.hostPort = net.JoinHostPort(u.Hostname(), port)
	if u.User != nil {
		a.username = u.User.Username()
		a.password, _ = u.User.Password()
	}
	return a, nil
}
