package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "healthcheck",
		Usage: "[<url>]",
		Short: "Asks the server on this machine whether it is healthy",
		Long: `
Gets a health route, and exits with 0 if the answer is 200, else with 1.

The URL is the argument, or what HEALTH_URL says in the environment, or
` + defaultHealthURL + `. Its host is the one that the request
names; the connection goes to this machine, whatever address the host has.
It is meant for a container's health check, where there is no other program.`,
		Func: func(flags caddycmd.Flags) (int, error) {
			if err := checkHealth(healthURL(flags.Arg(0), os.Getenv("HEALTH_URL"))); err != nil {
				return caddy.ExitCodeFailedStartup, err
			}
			return caddy.ExitCodeSuccess, nil
		},
	})
}

const defaultHealthURL = "http://localhost:8080/health/realtime"

// healthURL returns the first of its arguments that says something.
func healthURL(urls ...string) string {
	for _, url := range urls {
		if url != "" {
			return url
		}
	}
	return defaultHealthURL
}

// checkHealth gets a URL from this machine. It returns nil if the answer is 200.
func checkHealth(url string) error {
	client := http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("localhost", port))
			},
			// The connection does not leave this machine, and a certificate may
			// not be there yet.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the answer is a redirect: ask for https:// in the URL")
		},
	}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
