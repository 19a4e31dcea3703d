// Package list fills acl.Lists: from files and directories, which it watches,
// and with entries that are added at run time, which it keeps over restarts.
//
//	files, err := list.Open([]list.Source{{Name: "blocked", Path: "blocked.txt", List: blocked}}, log)
//	...
//	book, err := list.OpenBook(filepath.Join(stateDir, "lists.db"), log)
//	book.Bind("blocked", blocked)
//	go files.Serve(ctx)
//	go book.Serve(ctx)
//	...
//	book.Add("blocked", "198.51.100.7", time.Hour)
//
// A list is replaced as a whole or not at all: a file with a bad line, or that
// is gone, leaves the last good list in force and is reported.
package list
