package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxTold bounds the failures that are told one by one.
const maxTold = 10

// A score counts connections. It is safe for concurrent use.
type score struct {
	open, peak, exact, failed atomic.Int64
}

// begun counts a connection in.
func (s *score) begun() {
	n := s.open.Add(1)
	for peak := s.peak.Load(); n > peak && !s.peak.CompareAndSwap(peak, n); peak = s.peak.Load() {
	}
}

// ended counts it out.
func (s *score) ended(number uint32, err error) {
	s.open.Add(-1)
	if err == nil {
		s.exact.Add(1)
		return
	}
	if s.failed.Add(1) <= maxTold {
		fmt.Printf("connection %d: %v\n", number, err)
	}
}

// serve is the backend, until SIGTERM.
func serve(address string, size int) error {
	ln, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		ln.Close()
	}()
	var all score
	var serving sync.WaitGroup
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			break
		}
		if err != nil {
			return err
		}
		serving.Go(func() {
			defer c.Close()
			all.begun()
			number, err := admit(c)
			if err == nil {
				err = talk(c.(*net.TCPConn), speaker{number, false}, speaker{number, true}, size)
			}
			all.ended(number, err)
		})
	}
	serving.Wait()
	fmt.Printf("%d exact, %d failed, %d at once\n", all.exact.Load(), all.failed.Load(), all.peak.Load())
	return nil
}

// admit reads the connection's number and answers.
func admit(c net.Conn) (uint32, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	var number [4]byte
	if _, err := io.ReadFull(c, number[:]); err != nil {
		return 0, err
	}
	_, err := c.Write([]byte{'.'})
	return binary.BigEndian.Uint32(number[:]), err
}

// dialers is how many connections are being made at a time.
const dialers = 64

// ask is the clients. Nobody speaks before all are in.
func ask(size int, targets []string) error {
	var conns []*net.TCPConn
	for _, target := range targets {
		address, count, _ := strings.Cut(target, "=")
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		more, err := enter(address, n, len(conns))
		if err != nil {
			return err
		}
		conns = append(conns, more...)
	}
	fmt.Printf("%d at once\n", len(conns))

	var all score
	var up, down atomic.Int64
	var asking sync.WaitGroup
	for i, c := range conns {
		asking.Go(func() {
			defer c.Close()
			number := uint32(i)
			says, hears := speaker{number, true}, speaker{number, false}
			up.Add(int64(says.amount(size)) + 4)    // with the number
			down.Add(int64(hears.amount(size)) + 1) // with the answer to it
			all.ended(number, talk(c, says, hears, size))
		})
	}
	asking.Wait()
	fmt.Printf("%d exact, %d failed, %d bytes up, %d down\n", all.exact.Load(), all.failed.Load(), up.Load(), down.Load())
	if n := all.failed.Load(); n > 0 {
		return fmt.Errorf("%d connections failed", n)
	}
	return nil
}

// enter makes n connections, numbered from first on, each answered by the
// backend.
func enter(address string, n, first int) ([]*net.TCPConn, error) {
	conns, errs := make([]*net.TCPConn, n), make([]error, n)
	gate := make(chan struct{}, dialers)
	var entering sync.WaitGroup
	for i := range n {
		gate <- struct{}{}
		entering.Go(func() {
			conns[i], errs[i] = enterOne(address, uint32(first+i))
			<-gate
		})
	}
	entering.Wait()
	return conns, errors.Join(errs...)
}

func enterOne(address string, number uint32) (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.Write(binary.BigEndian.AppendUint32(nil, number)); err != nil {
		return nil, fmt.Errorf("connection %d: %w", number, err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("connection %d: no answer: %w", number, err)
	}
	return c.(*net.TCPConn), nil
}
