// Package accesslog writes a line about each request and each forwarded
// connection, without ever holding them up.
//
//	log, err := accesslog.Open(spec, accesslog.Options{Front: "front1", Log: slog})
//	log.Write(&accesslog.Entry{…}) // from any goroutine; copies, never waits
//	log.Reopen()                   // after the file was moved away
//	log.Close()
//
//	Entry → bytes, every stranger's byte escaped → queue, at most 4 MiB
//	      → one goroutine → file, standard output or syslog
//
// What does not fit into the queue, or cannot be written, is lost and counted.
package accesslog
