package natsbroker

const hex = "0123456789ABCDEF"

// appendSubject appends a topic as one token of a subject: letters, digits, - and _ as they are,
// and all other bytes as =XX. So the subject of the longest topic has 3 KiB, and a server takes
// lines of 4 KiB.
func appendSubject(subject []byte, topic string) []byte {
	for i := range len(topic) {
		c := topic[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			subject = append(subject, c)
		} else {
			subject = append(subject, '=', hex[c>>4], hex[c&15])
		}
	}
	return subject
}
