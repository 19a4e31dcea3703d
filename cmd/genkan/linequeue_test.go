package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
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
