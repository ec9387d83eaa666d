package redisadapter

// DefaultKey is the default of the adapter's option key.
const DefaultKey = "socket.io"

// channels are the names of the channels of one namespace.
type channels struct {
	broadcasts string // and those to one room are published to a channel of the room: this name, the room's and a #
	requests   string
	responses  string
}

func newChannels(key, namespace string) channels {
	return channels{
		broadcasts: key + "#" + namespace + "#",
		requests:   key + "-request#" + namespace + "#",
		responses:  key + "-response#" + namespace + "#",
	}
}

// responsesTo returns the channel of responses that are for one server only.
func (c *channels) responsesTo(uid string) string { return c.responses + uid + "#" }

// pattern matches the channels of broadcasts to the namespace and to its rooms. It matches those of
// some other namespaces, too, if a name has wildcards or a #.
func (c *channels) pattern() string { return c.broadcasts + "*" }

// broadcastsTo returns the channel of a broadcast.
func (c *channels) broadcastsTo(rooms []string) string {
	if len(rooms) == 1 {
		return c.broadcasts + rooms[0] + "#"
	}
	return c.broadcasts
}
