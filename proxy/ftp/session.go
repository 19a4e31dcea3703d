package ftp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Config is one client's control connection and what its data needs.
type Config struct {
	Client, Server net.Conn // the control connection's two halves; Serve closes them

	ClientAddr netip.Addr // the client: data comes from there and goes there, only
	Door       netip.Addr // ours, where the client connected to
	ServerAddr netip.Addr // the server, IPv4: data comes from there and goes there, only
	Source     netip.Addr // ours towards the server, IPv4
	// Transparent tells that Source is the client's own, which the kernel leads
	// to sockets with IP_TRANSPARENT.
	Transparent bool

	Hub *Hub
	// Dial connects to the server from Source.
	Dial func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error)
	// Relay carries a data connection and calls done when it has ended. Both
	// sockets are its own.
	Relay func(client net.Conn, server *net.TCPConn, done func())

	// TLS, which SessionTLS has made, ends here where the client says AUTH TLS
	// (RFC 4217): the server is told nothing of it. Nil: AUTH is the server's
	// affair, and the session blind after it.
	TLS *tls.Config
	// Secure tells that Client is a connection of TLS already, by SessionTLS:
	// implicit FTPS.
	Secure bool
	// Require is what clients must do where TLS is not nil.
	Require Requirements

	// Idle ends a session without a line either way and without data.
	// Zero: 10 minutes.
	Idle time.Duration
	// DataWait is how long a data connection may take to come up. Zero: 60 s.
	DataWait time.Duration
	// Log hears of refused data. Nil discards.
	Log *slog.Logger
}

// A session is one control connection.
type session struct {
	Config
	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup // data connections that come up

	fromClient, fromServer *bufio.Reader
	queue                  queue
	answered               chan struct{} // the barrier is answered
	noEPRT                 bool          // the server does not know EPRT; this and the next of replies
	supersede              func()        // ends the wait for data that was last agreed on; nil: none was
	secure                 bool          // the control connection has TLS; this and the next two of commands
	named                  bool          // USER was said
	buffered               bool          // PBSZ was said

	mu        sync.Mutex // guards the fields below, and each write to client and Server
	client    net.Conn   // Client, or TLS over it
	moved     time.Time  // of the last line, or the end of the last data
	data      int        // data connections that live
	slots     int        // those, and what waits to become one
	isGone    bool
	isBlind   bool // after AUTH TLS
	isPrivate bool // data has TLS, by PROT P
	up        int64
	down      int64
}

// A pending is a command that waits for its answer.
type pending struct {
	command
	local  string       // the answer is ours: the server never saw the command
	active *activeOffer // of EPRT and PORT
}

// barrier tells that nothing is sent behind the command until it is answered:
// the answer may need a second command, or end what the gateway can read.
func (p pending) barrier() bool { return p.local == "" && epsv <= p.verb && p.verb <= auth }

// asksPort tells that the server's answer names a port.
func (p pending) asksPort() bool { return p.local == "" && (p.verb == epsv || p.verb == pasv) }

// Result counts the bytes of the control connection.
type Result struct{ Up, Down int64 }

// Serve carries one control connection to its end, which is the end of either
// side, of ctx, or silence. The error is nil where a side has closed. When
// Serve returns, nothing of it is left but data connections under way, which
// are Relay's.
func Serve(ctx context.Context, cfg Config) (Result, error) {
	if cfg.Idle <= 0 {
		cfg.Idle = 10 * time.Minute
	}
	if cfg.DataWait <= 0 {
		cfg.DataWait = time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &session{
		Config:     cfg,
		fromClient: bufio.NewReaderSize(cfg.Client, maxLine),
		fromServer: bufio.NewReaderSize(cfg.Server, maxLine),
		queue:      newQueue(),
		answered:   make(chan struct{}, 1),
		moved:      time.Now(),
		client:     cfg.Client,
		secure:     cfg.Secure,
		isPrivate:  cfg.Secure, // nobody who speaks TLS from the first byte wants clear data unasked
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	defer s.stop()
	ends := make(chan error, 3)
	go func() { ends <- s.commands() }()
	go func() { ends <- s.replies() }()
	go func() { ends <- s.watch() }()
	err := <-ends
	s.stop()
	s.leave()
	<-ends
	<-ends
	s.work.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return Result{s.up, s.down}, err
}

// leave closes both halves, which ends what reads from them.
func (s *session) leave() {
	s.Hub.dropBlind(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isGone = true
	s.client.Close()
	s.Server.Close()
}

// watch ends the session by silence. A transfer is no silence.
func (s *session) watch() error {
	timer := time.NewTimer(s.Idle)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-timer.C:
		}
		s.mu.Lock()
		left := s.Idle - time.Since(s.moved)
		if s.data > 0 {
			left = s.Idle
		}
		s.mu.Unlock()
		if left <= 0 {
			return fmt.Errorf("no line for %s", s.Idle)
		}
		timer.Reset(left)
	}
}

// commands reads the client's commands and sends them on.
func (s *session) commands() error {
	for {
		line, err := readLine(s.fromClient)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.moved = time.Now()
		s.up += int64(len(line))
		s.mu.Unlock()
		p, line := s.translate(line)
		if p.verb == none {
			continue
		}
		if s.TLS != nil && p.verb == auth && p.local == "" {
			if err := s.secureControl(p.arg); err != nil {
				return err
			}
			continue
		}
		if err := s.queue.push(s.ctx, p, s.tellClient); err != nil {
			return err
		}
		if p.local != "" {
			continue
		}
		if err := s.send(false, line); err != nil {
			return err
		}
		if !p.barrier() {
			continue
		}
		select {
		case <-s.answered:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if s.blind() {
			if s.fromClient.Buffered() > 0 { // read before the server had agreed to TLS
				return errInjected
			}
			return s.pass(false, s.fromClient)
		}
	}
}

// replies reads the server's replies and gives each to the command that it
// answers, oldest first. One that answers nothing (421 at a time limit) is the
// client's as it is.
func (s *session) replies() error {
	for {
		r, err := s.answer()
		if err != nil {
			return err
		}
		p, ok, err := s.queue.match(r, s.tellClient)
		if err != nil {
			return err
		}
		if !ok {
			if err := s.tellClient(r.raw); err != nil {
				return err
			}
			continue
		}
		if err := s.conclude(p, r); err != nil {
			return err
		}
		if err := s.queue.pop(s.tellClient); err != nil {
			return err
		}
		if p.barrier() {
			s.answered <- struct{}{}
		}
		if s.blind() {
			return s.pass(true, s.fromServer)
		}
	}
}

// answer reads the final reply to a command and passes the preliminary ones.
func (s *session) answer() (reply, error) {
	for {
		r, err := readReply(s.fromServer)
		if err != nil || !r.preliminary() {
			return r, err
		}
		if err := s.tellClient(r.raw); err != nil {
			return reply{}, err
		}
	}
}

func (s *session) tellClient(text string) error { return s.send(true, text) }

// send writes a line to one side.
func (s *session) send(toClient bool, line string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(toClient, line)
}

// write is send with s.mu held.
func (s *session) write(toClient bool, line string) error {
	if s.isGone {
		return net.ErrClosed
	}
	s.moved = time.Now()
	to := s.Server
	if toClient {
		to = s.client
		s.down += int64(len(line))
	}
	if err := to.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	if !toClient && strings.HasPrefix(line, synch) {
		var err error
		if line, err = sendUrgent(to, line); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(to, line); err != nil {
		return err
	}
	return to.SetWriteDeadline(time.Time{}) // TLS may have to answer while nothing is said here
}

// writeWait is how long one side may leave a line in its queue.
const writeWait = 30 * time.Second

func (s *session) blind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isBlind
}

// pass carries what the gateway cannot read any more.
func (s *session) pass(toClient bool, from *bufio.Reader) error {
	buffer := make([]byte, maxLine)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !toClient {
				s.mu.Lock()
				s.up += int64(n)
				s.mu.Unlock()
			}
			if err := s.send(toClient, string(buffer[:n])); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
