// Package nowait reads from sockets and writes to them without ever waiting.
package nowait
