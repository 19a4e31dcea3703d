package list

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"genkan/acl"
)

func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "lists.db")
	synctest.Test(t, func(t *testing.T) {
		var blocked acl.List
		book := must(OpenBook(path, nil))
		book.Bind("blocked", &blocked)
		serve(t, book.Serve)
		checkAdd(t, book, "198.51.100.7", time.Hour)
		checkAdd(t, book, "2001:db8::/32", 0)
		checkAdd(t, book, "192.0.2.1-192.0.2.9", 30*time.Minute)
		if got := shown(book); got != "192.0.2.1-192.0.2.9 198.51.100.7 2001:db8::/32" {
			t.Errorf("shows %s", got)
		}
		// An end is kept to the moment, with or without Serve having woken.
		time.Sleep(30*time.Minute - 1)
		if !has(&blocked, "192.0.2.5") {
			t.Error("an entry ended early")
		}
		time.Sleep(1 * time.Nanosecond)
		if has(&blocked, "192.0.2.5") || !has(&blocked, "198.51.100.7") || !has(&blocked, "2001:db8::1") {
			t.Error("after half an hour: want the hour's and the lasting entry alone")
		}
		if at := time.Now().Add(-time.Minute); !blocked.Contains(addr("198.51.100.7"), at) || blocked.Contains(addr("198.51.100.7"), at.Add(2*time.Hour)) {
			t.Error("asked about another moment, the list gives a wrong answer")
		}
		synctest.Wait()
		if n := len(blocked.Entries()); n != 2 {
			t.Errorf("%d entries kept, want 2", n)
		}
		// A new end replaces the old one.
		checkAdd(t, book, "198.51.100.7", time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := shown(book); got != "2001:db8::/32" {
			t.Errorf("shows %s", got)
		}
		checkAdd(t, book, "203.0.113.1", time.Hour)
		if err := book.Close(); err != nil {
			t.Error(err)
		}
		if _, err := book.Add("blocked", "203.0.113.2", 0); err == nil || has(&blocked, "203.0.113.2") {
			t.Error("an entry that cannot be kept was added")
		}

		// Entries outlive a restart, ends included.
		time.Sleep(59 * time.Minute)
		again := must(OpenBook(path, nil))
		defer again.Close()
		var next acl.List
		again.Bind("blocked", &next)
		if !has(&next, "203.0.113.1") || !has(&next, "2001:db8::1") || has(&next, "198.51.100.7") {
			t.Errorf("after a restart: %s", shown(again))
		}
		time.Sleep(time.Minute)
		if has(&next, "203.0.113.1") {
			t.Error("a restart made a ban longer")
		}
		if err := again.Del("blocked", "[2001:db8::]/32"); err != nil || has(&next, "2001:db8::1") {
			t.Errorf("Del: %v", err)
		}
	})
}

func checkAdd(t *testing.T, b *Book, text string, life time.Duration) {
	t.Helper()
	if _, err := b.Add("blocked", text, life); err != nil {
		t.Error(err)
	}
}

func shown(b *Book) string {
	var out []string
	for _, e := range b.Show("blocked") {
		out = append(out, e.Range.Short())
	}
	return strings.Join(out, " ")
}

func TestBookMistakes(t *testing.T) {
	book := must(OpenBook(filepath.Join(t.TempDir(), "lists.db"), nil))
	defer book.Close()
	_, err := book.Add("blocked", "10.1.2.3/8", 0)
	if want := `"10.1.2.3/8": host bits set; write "10.0.0.0/8"`; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = book.Add("blocked", "192.0.2.1", 2_500_000*time.Hour)
	if want := `2500000h0m0s is no time to live; write one up to 36500d, or none for good`; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := book.Add("blocked", "192.0.2.1", maxLife); err != nil {
		t.Error(err)
	}
	err = book.Del("blocked", "10.1.2.3")
	if want := `list "blocked" has no entry 10.1.2.3 that was added at run time`; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// What ends while nobody has the file open does not stay in it.
func TestBookForgetsWhatEndedMeanwhile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lists.db")
	synctest.Test(t, func(t *testing.T) {
		book := must(OpenBook(path, nil))
		checkAdd(t, book, "192.0.2.1", time.Minute)
		checkAdd(t, book, "192.0.2.2", 0)
		if err := book.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		book = must(OpenBook(path, nil))
		defer book.Close()
		serve(t, book.Serve)
		synctest.Wait()
		kept := 0
		book.db.View(func(tx *bbolt.Tx) error {
			kept = tx.Bucket(bucketName).Bucket([]byte("blocked")).Stats().KeyN
			return nil
		})
		if kept != 1 || shown(book) != "192.0.2.2" {
			t.Errorf("%d entries in the file, %s shown; want 192.0.2.2 alone", kept, shown(book))
		}
	})
}
