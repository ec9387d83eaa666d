// Package webhook lets an application behind HTTP be the authenticator and the
// handler of sockets: it is asked by requests who clients are and what follows
// from their events, and told who is gone. The messages are described in the
// directory schema; they are signed as Standard Webhooks are.
package webhook
