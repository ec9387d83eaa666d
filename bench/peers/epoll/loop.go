//go:build linux

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// server is what the loop's thread works on.
type server struct {
	epoll, listening int
	clients          []*client // by descriptor
	members          []*client // of the room
	buffer           []byte    // what was read last
	out              []byte    // answers to what was read last
}

// run serves until an error of the system.
func run(listening int) error {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("creating epoll: %w", err)
	}
	s := &server{epoll: epoll, listening: listening, buffer: make([]byte, 64<<10)}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(listening)}
	if err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, listening, &event); err != nil {
		return fmt.Errorf("watching the listener: %w", err)
	}
	events := make([]syscall.EpollEvent, 1024)
	for {
		n, err := syscall.EpollWait(epoll, events, -1)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting: %w", err)
		}
		for _, event := range events[:n] {
			if int(event.Fd) == listening {
				s.accept()
				continue
			}
			c := s.clients[event.Fd]
			if event.Events&syscall.EPOLLOUT != 0 {
				s.flush(c)
			}
			if event.Events&^syscall.EPOLLOUT != 0 {
				s.read(c)
			}
		}
	}
}

// accept takes all connections that wait.
func (s *server) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listening, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.ECONNABORTED || err == syscall.EINTR {
			continue
		}
		if err != nil {
			return // none is left
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		for len(s.clients) <= fd {
			s.clients = append(s.clients, nil)
		}
		s.clients[fd] = &client{fd: fd, place: -1}
		s.watch(syscall.EPOLL_CTL_ADD, fd, syscall.EPOLLIN)
	}
}

func (s *server) watch(operation, fd int, events uint32) {
	_ = syscall.EpollCtl(s.epoll, operation, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// read reads once, and writes all answers at once.
func (s *server) read(c *client) {
	kept := copy(s.buffer, c.partial)
	n, err := syscall.Read(c.fd, s.buffer[kept:])
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return
	}
	if err != nil || n == 0 {
		s.close(c)
		return
	}
	s.out = s.out[:0]
	rest, err := s.handle(c, s.buffer[:kept+n])
	if err != nil {
		s.close(c)
		return
	}
	c.partial = nil // an idle client holds no memory for it
	if len(rest) > 0 {
		c.partial = append(c.partial, rest...)
	}
	if len(s.out) > 0 {
		s.write(c, s.out)
	}
}

// write writes data. What the kernel does not take waits until it does.
func (s *server) write(c *client, data []byte) {
	if len(c.queue) == 0 {
		n, err := syscall.Write(c.fd, data)
		if n == len(data) {
			return
		}
		if err != nil && err != syscall.EAGAIN && err != syscall.EINTR {
			return // the next read fails, too, and closes
		}
		data = data[max(0, n):]
		s.watch(syscall.EPOLL_CTL_MOD, c.fd, syscall.EPOLLIN|syscall.EPOLLOUT)
	}
	c.queue = append(c.queue, data...)
}

func (s *server) flush(c *client) {
	n, err := syscall.Write(c.fd, c.queue)
	if err != nil {
		return
	}
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
		s.watch(syscall.EPOLL_CTL_MOD, c.fd, syscall.EPOLLIN)
	}
}

func (s *server) join(c *client) {
	if c.place < 0 {
		c.place = len(s.members)
		s.members = append(s.members, c)
	}
}

// close closes a client. No event of it is left: each comes at most once in a turn.
func (s *server) close(c *client) {
	if c.place >= 0 {
		last := s.members[len(s.members)-1]
		s.members[c.place], last.place = last, c.place
		s.members = s.members[:len(s.members)-1]
	}
	s.clients[c.fd] = nil
	_ = syscall.Close(c.fd)
}
