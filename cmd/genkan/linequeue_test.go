package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A reader that takes nothing holds nobody up; later it learns what it missed.
func TestLogNeverWaits(t *testing.T) {
	reader, writer := io.Pipe()
	flags := logFlags{format: "json", level: "info"}
	log, closeLog, err := flags.logger(writer, nil)
	if err != nil {
		t.Fatal(err)
	}
	const lines = 3 * queuedLines
	began := time.Now()
	for i := range lines {
		log.Info("event", "number", i)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("%d lines that nobody reads took %s", lines, took)
	}
	var text bytes.Buffer
	read := make(chan error)
	go func() {
		_, err := io.Copy(&text, reader)
		read <- err
	}()
	closeLog()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(text.String(), `"msg":"event"`); got < queuedLines || got >= lines {
		t.Errorf("%d lines came, want those that were queued, %d or one more", got, queuedLines)
	}
	if !strings.Contains(text.String(), "log lines lost: their reader is too slow") {
		t.Error("nothing tells of the lost lines")
	}
}

// A countingWriter counts the writes that bring text.
type countingWriter struct {
	mu     sync.Mutex
	writes int
	text   bytes.Buffer
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	return w.text.Write(p)
}

// A line is there at once; lines that come closely share few writes; none is
// lost, and each is whole.
func TestLogGathersLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &countingWriter{}
		flags := logFlags{format: "json", level: "info"}
		log, closeLog, err := flags.logger(out, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closeLog()
		log.Info("first")
		synctest.Wait()
		out.mu.Lock()
		if out.writes != 1 {
			t.Errorf("after the first line: %d writes, want 1", out.writes)
		}
		out.mu.Unlock()
		const lines = 1000
		for i := range lines {
			log.Info("event", "number", i)
		}
		time.Sleep(gatherWait)
		synctest.Wait()
		out.mu.Lock()
		defer out.mu.Unlock()
		if most := 2 + lines*100/gatherBytes; out.writes > most {
			t.Errorf("%d lines in %d writes, want %d at most", lines, out.writes, most)
		}
		for i := range lines {
			if !strings.Contains(out.text.String(), fmt.Sprintf(`"msg":"event","number":%d}`+"\n", i)) {
				t.Fatalf("line %d is not there", i)
			}
		}
	})
}

// Durations are for people, in JSON too.
func TestLogDurations(t *testing.T) {
	var text bytes.Buffer
	flags := logFlags{format: "json", level: "info"}
	log, closeLog, err := flags.logger(&text, nil)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("connection", "lasted", 1500*time.Millisecond)
	closeLog()
	if !strings.Contains(text.String(), `"lasted":"1.5s"`) {
		t.Errorf("got %s", text.String())
	}
}
