//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// build makes all that servers are started with, in a directory: Caddy, unless -caddy names one,
// the peers in Go, and a certificate. It installs the npm packages if they are missing.
func build(ctx context.Context, o options, dir string, progress io.Writer) (*tools, error) {
	t := &tools{binary: o.caddy, programs: filepath.Join(dir, "peers")}
	if t.binary == "" {
		t.binary = filepath.Join(dir, "realtime")
		fmt.Fprintln(progress, "building ./caddy/realtime")
		if err := command(ctx, progress, ".", "go", "build", "-o", t.binary, "./caddy/realtime"); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(progress, "building bench/peers")
	if err := os.Mkdir(t.programs, 0o700); err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	if err := command(ctx, progress, "bench/peers", "go", "build", "-o", t.programs, "./..."); err != nil {
		return nil, err
	}
	for _, module := range []string{"bufferutil", "socket.io"} {
		if _, err := os.Stat(filepath.Join("bench/peers/node_modules", module)); err == nil {
			continue
		}
		fmt.Fprintln(progress, "npm packages are missing: running npm ci in bench/peers")
		if err := command(ctx, progress, "bench/peers", "npm", "ci", "--no-audit", "--no-fund"); err != nil {
			return nil, err
		}
		break
	}
	var err error
	t.certificate, t.key, err = writeCertificate(dir)
	return t, err
}

// command runs a program for at most ten minutes.
func command(ctx context.Context, output io.Writer, dir, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
